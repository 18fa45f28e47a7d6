"""Random numbers that are a pure function of what they are for: no state, no order.

Each is a hash of (seed, epoch, record, position), so it is the same whatever was asked for before,
on whichever worker, beside whichever batch mates.
"""

from functools import lru_cache
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, the increment of splitmix64
_ROUNDS = 6  # of the Feistel network; four suffice in theory for a random permutation


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Finish a hash, in place: the output function of splitmix64 (Steele, Lea, Flood 2014)."""
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def hash64(*words: ArrayLike) -> NDArray[np.uint64]:
    """Hash integers to 64 bits that pass for random; the words broadcast against each other.

    Args:
        words: non-negative integers below 2**64, scalars or arrays; their order matters.

    Returns: uint64 of the words' common shape, but at least (1,).
    """
    # Seeds and epochs, which mostly come first, have been hashed before.
    first = next((i for i, word in enumerate(words) if type(word) is not int), len(words))
    state = np.array([_hash_integers(cast(tuple[int, ...], words[:first]))], np.uint64)
    for word in words[first:]:
        state = _mix((state + _GOLDEN) ^ np.asarray(word, dtype=np.uint64))
    return state


@lru_cache(maxsize=256)
def _hash_integers(words: tuple[int, ...]) -> int:
    state = np.zeros(1, np.uint64)
    for word in words:
        state = _mix((state + _GOLDEN) ^ np.uint64(word))
    return int(state[0])


def random_bits(key: NDArray[np.uint64], counter: NDArray[np.integer]) -> NDArray[np.uint64]:
    """The counter-th output of the splitmix64 generator that is seeded with `key`.

    Args:
        key, counter: broadcastable against each other; counters from 0.

    Returns: uint64 of their common shape.
    """
    steps = (counter.astype(np.uint64) + np.uint64(1)) * _GOLDEN
    return _mix(np.asarray(key + steps))


def threshold(probability: float) -> np.uint64:
    """The t for which 64 random bits are below t with the given probability."""
    return np.uint64(min(int(probability * 2**64), 2**64 - 1))


def random_bits16(keys: NDArray[np.uint64], count: int) -> NDArray[np.uint16]:
    """(B, count) 16-bit random numbers for B keys: four of each of the generator's outputs."""
    outputs = random_bits(keys[:, None], np.arange(-(-count // 4)))
    return outputs.astype("<u8", copy=False).view("<u2")[:, :count]


def permute(index: ArrayLike, size: ArrayLike, key: ArrayLike) -> NDArray[np.int64]:
    """Where a pseudo-random permutation of range(size) sends `index`, in constant memory.

    A balanced Feistel network over the next even power of two, walked until it falls into
    the range again (Black and Rogaway 2002, "cycle walking": a bijection of the range). A
    permutation of 200 million costs nothing to set up, and each image is computed alone.

    Args:
        index: integers in range(size).
        size: of the domain, at least 1; broadcasts against index, as does key.
        key: chooses the permutation.

    Returns: int64 of the common shape, at least (1,).
    """
    x, n, k = np.broadcast_arrays(
        np.atleast_1d(np.asarray(index, np.uint64)),
        np.asarray(size, np.uint64),
        np.asarray(key, np.uint64),
    )
    shape = x.shape
    x, n, k = x.flatten(), n.ravel(), k.ravel()
    bits = np.frexp((n - np.uint64(1)).astype(np.float64))[1]  # bit length of the last index
    half = np.maximum((bits + 1) // 2, 1).astype(np.uint64)
    outside = np.arange(x.size)
    while outside.size:
        x[outside] = walked = _feistel(x[outside], half[outside], k[outside])
        outside = outside[walked >= n[outside]]
    return x.astype(np.int64).reshape(shape)


def _feistel(
    x: NDArray[np.uint64], half: NDArray[np.uint64], key: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """One pass of the network: a bijection of the integers below 4**half."""
    low = (np.uint64(1) << half) - np.uint64(1)
    left, right = x >> half, x & low
    for _ in range(_ROUNDS):
        key = key + _GOLDEN
        left, right = right, left ^ (_mix(right ^ key) & low)
    return (left << half) | right
