"""The length order of a split: what its batches are cut from."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protein_performer.data.preparing.sorted_file import sorted_on_disk
from protein_performer.data.preparing.tokenizer import copy_runs, count_tokens
from protein_performer.data.shards import BY_LENGTH, LENGTH_COUNTS, StoredSplit

_INDEX_BITS = np.uint64(36)  # of a key; the length is above
_PIECE = 2**16  # proteins looked at together


class SplitCounts(NamedTuple):
    """What takes part in a split, duplicates left out."""

    proteins: int
    residues: int
    by_token: NDArray[np.int64]  # (V,) occurrences of each token


def write_index(
    split: StoredSplit, duplicate: NDArray[np.bool_], stored_tokens: NDArray[np.int64]
) -> SplitCounts:
    """Write `by_length.npy` and `length_counts.npy` of a split, and count what takes part.

    Equal lengths keep the order of the shards. Memory is that of one shard.

    Args:
        split: whose shards are complete.
        duplicate: (stored proteins,) True where one is left out.
        stored_tokens: (V,) occurrences of each token in the shards, duplicates included.
    """
    by_token = stored_tokens.copy()
    keys = sorted_on_disk(_keys(split, duplicate, by_token), np.uint64, split.folder)
    counts = _write(split, keys, np.uint32 if len(duplicate) <= 2**32 else np.uint64)
    np.save(split.folder / LENGTH_COUNTS, counts)
    return SplitCounts(len(keys), int(counts @ np.arange(len(counts))), by_token)


def _keys(
    split: StoredSplit, duplicate: NDArray[np.bool_], by_token: NDArray[np.int64]
) -> Iterator[NDArray[np.uint64]]:
    """Lengths and indices of what takes part, by shard; tokens of the rest leave `by_token`."""
    for shard in range(split.num_shards):
        lengths, first = split.lengths(shard), shard * split.shard_proteins
        left_out = duplicate[first : first + len(lengths)]
        rows = np.flatnonzero(~left_out)
        yield lengths[rows].astype(np.uint64) << _INDEX_BITS | (first + rows).astype(np.uint64)
        if left_out.any():
            copies = copy_runs(split.shard(shard)[0], lengths, left_out)
            by_token -= count_tokens(copies, len(by_token))


def _write(split: StoredSplit, keys: NDArray[np.uint64], dtype: Any) -> NDArray[np.int64]:
    """Write the indices; (longest + 1,) how many there are of each length."""
    path = split.folder / BY_LENGTH
    if not len(keys):
        np.save(path, np.zeros(0, dtype))
        return np.zeros(1, dtype=np.int64)
    counts = np.zeros(int(keys[-1] >> _INDEX_BITS) + 1, dtype=np.int64)
    order = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=keys.shape)
    for begin in range(0, len(keys), _PIECE):
        here = keys[begin : begin + _PIECE]
        order[begin : begin + len(here)] = here & ((1 << _INDEX_BITS) - np.uint64(1))
        counts += np.bincount((here >> _INDEX_BITS).astype(np.int64), minlength=len(counts))
    order.flush()
    return counts
