"""Proteins in memory, as a stream holds them: what rows are laid out of without a prepared folder.

Shapes: N proteins, R residues in all.
"""

import numpy as np
from numpy.typing import NDArray

from protein_performer.data.batches.layout import Ints
from protein_performer.data.randomness import hash64


class Buffer:
    """Training proteins that stand one after another in the sources, in memory.

    Args:
        number: which buffer of its epoch this is, from 0.
        first: index of its first protein among the training proteins of the sources.
        lengths: (N,) int64.
        tokens: (R,) uint8, residues one after another.
    """

    def __init__(self, number: int, first: int, lengths: Ints, tokens: NDArray[np.uint8]) -> None:
        self.number = number
        self.first = first
        self.lengths = lengths
        self._tokens = tokens
        self._offsets: list[int] = np.concatenate([[0], np.cumsum(lengths)]).tolist()

    def __len__(self) -> int:
        """N."""
        return len(self.lengths)

    def residues(self, index: int) -> NDArray[np.uint8]:
        """See `layout.Proteins`; indices begin at `first`."""
        here = index - self.first
        return self._tokens[self._offsets[here] : self._offsets[here + 1]]

    def by_length(self) -> NDArray[np.integer]:
        """See `layout.SortedProteins`."""
        return self.first + np.argsort(self.lengths, kind="stable")

    def length_counts(self) -> Ints:
        """See `layout.SortedProteins`."""
        return np.bincount(self.lengths)

    def shuffled(self, seed: int) -> "Buffer":
        """The same proteins in another order, with indices from 0."""
        order = np.argsort(hash64(seed, np.arange(len(self))))
        tokens = [self.residues(self.first + index) for index in order.tolist()]
        return Buffer(self.number, 0, self.lengths[order], np.concatenate(tokens))
