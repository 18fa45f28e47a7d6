"""Which proteins stand in which batch: arithmetic on (seed, epoch, batch), without a list.

Proteins of like length share a bucket. Every batch of a bucket holds about as many as the token
budget allows, so the number of batches of an epoch is known beforehand and batch k of epoch e
can be computed alone: a resumed run asks for the next k.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from protein_performer.data.randomness import hash64, permute
from protein_performer.errors import UserError

SPECIALS = 2  # tokens beside a protein's residues: <bos> and <eos>
Ints = NDArray[np.int64]

_OF_BATCHES, _OF_PROTEINS = 0, 1  # what a permutation is for: keeps the two apart


class Bucket(NamedTuple):
    """Proteins of like length, neighbours in the length order.

    Attributes:
        first: where the bucket begins in the length order.
        proteins: how many it holds.
        batches: how many batches they make; sizes differ by one at most.
        width: residues of the longest, after cropping.
    """

    first: int
    proteins: int
    batches: int
    width: int


def make_buckets(
    length_counts: Ints, *, max_length: int, batch_tokens: int, ratio: float
) -> list[Bucket]:
    """Cut the length order into buckets, the longest proteins first.

    A bucket spans lengths up to `ratio` apart, or more where that would not fill half a batch:
    so no batch is much smaller than the budget.

    Args:
        length_counts: (longest + 1,) number of proteins of each length.
        max_length: residues of a protein that enter a batch; longer ones are cropped.
        batch_tokens: the most tokens of a batch, padding and special tokens included.
        ratio: longest over shortest of a bucket, above 1; padding mostly stays below 1 - 1/ratio.

    Raises: UserError if the budget does not hold one protein, or if there is none.
    """
    shorter = np.concatenate([[0], np.cumsum(length_counts)])  # [l]: proteins shorter than l
    if shorter[-1] == 0:
        raise UserError("expected at least one protein to make batches of, got none")
    shortest, longest = int(np.flatnonzero(length_counts)[0]), len(length_counts) - 1
    top = min(longest, max_length)
    if batch_tokens < top + SPECIALS:
        raise UserError(
            f"data.batch_tokens: expected at least {top + SPECIALS:,} tokens, to hold the longest"
            f" protein ({top:,} residues and {SPECIALS} special tokens), got {batch_tokens:,}."
            " Raise it, or lower data.max_length."
        )
    buckets: list[Bucket] = []
    width, end = top, int(shorter[-1])
    while end > 0:
        size = batch_tokens // (width + SPECIALS)
        below = int(width / ratio)  # the bucket spans lengths below + 1 ... width
        while end - shorter[below + 1] < (size + 1) // 2 and below >= shortest:
            below = min(below - 1, int(below / ratio))
        first = int(shorter[below + 1])
        proteins = end - first
        if buckets and proteins < (size + 1) // 2:  # the leftover of the shortest: one longer
            longer = buckets.pop()
            proteins, width = proteins + longer.proteins, longer.width
            size = batch_tokens // (width + SPECIALS)
        buckets.append(Bucket(first, proteins, -(-proteins // size), width))
        width, end = below, first
    return buckets


@dataclass(frozen=True)
class BatchOrder:
    """The batches of every epoch.

    Attributes:
        buckets: see `make_buckets`.
        seed: of the shuffle; None leaves the batches in the order of length, longest first.
    """

    buckets: list[Bucket]
    seed: int | None

    @cached_property
    def _columns(self) -> tuple[Ints, Ints, Ints, Ints]:
        first, proteins, batches, _ = np.array(self.buckets, dtype=np.int64).T
        return first, proteins, batches, np.concatenate([[0], np.cumsum(batches)])

    def __len__(self) -> int:
        """Batches of an epoch."""
        return sum(bucket.batches for bucket in self.buckets)

    @property
    def smallest(self) -> int:
        """Proteins of the smallest batch: the most ranks that can share each batch."""
        return min(bucket.proteins // bucket.batches for bucket in self.buckets)

    def places(self, epoch: int, batches: Ints) -> list[Ints]:
        """The proteins of some batches of an epoch, as places in the length order.

        Args:
            epoch: from 0.
            batches: (K,) indices in range(len(self)).

        Returns: K arrays; over an epoch, each place occurs exactly once.
        """
        first, proteins, counts, starts = self._columns
        if self.seed is not None:
            batches = permute(batches, len(self), hash64(self.seed, epoch, _OF_BATCHES))
        bucket = np.searchsorted(starts, batches, side="right") - 1
        row = batches - starts[bucket]
        low = row * proteins[bucket] // counts[bucket]
        sizes = (row + 1) * proteins[bucket] // counts[bucket] - low
        ends = np.cumsum(sizes)
        bucket = np.repeat(bucket, sizes)
        place = np.arange(ends[-1]) + np.repeat(low - (ends - sizes), sizes)
        if self.seed is not None:
            keys = hash64(self.seed, epoch, _OF_PROTEINS, np.arange(len(self.buckets)))
            place = permute(place, proteins[bucket], keys[bucket])
        return np.split(first[bucket] + place, ends[:-1])
