"""A baseline that counts: interpolated n-grams, orders 1 to 5, of the training set.

A language model that does not beat them has learnt no more than which short words occur.

Shapes: N positions, A letters, n the highest order, B rows, L columns.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

LONGEST = 5
_CELLS = 1 << 24  # of the table of counts, four bytes each
_POSITIONS_AT_ONCE, _RESIDUES_AT_ONCE = 1 << 15, 1 << 22

Codes = NDArray[np.uint8]


def longest_order(letters: int) -> int:
    """The highest order, at most `LONGEST`, whose table of counts stays below 64 MB.

    >>> longest_order(26), longest_order(243)  # of proteins, of bytes
    (5, 3)
    """
    return max(n for n in range(1, LONGEST + 1) if n == 1 or (letters + 1) ** n <= _CELLS)


class NGrams:
    """Counts of words of n letters, and the probabilities that they give.

    Of a word of any order k <= n, with history h (the k - 1 letters before) and last letter a,

        p_k(a | h) = (c(h a) + T(h) p_(k-1)(a | h')) / (c(h) + T(h)),

    where c counts, T(h) is the number of different letters seen after h, h' is h without its first
    letter, p_0 = 1/A, and p_k = p_(k-1) where h was never seen. This is interpolated Witten-Bell
    smoothing (Witten and Bell 1991, method C; Chen and Goodman 1998, TR-10-98, section 2.5): it has
    no weights to tune, so it needs no second set. A protein begins with a history of boundaries.

    Args:
        letters: A.
        first_letter: the code of the first; smaller codes are special tokens, and boundaries here.
        order: n; None for `longest_order`.
    """

    def __init__(self, letters: int, first_letter: int, order: int | None = None) -> None:
        self.letters = letters
        self.first_letter = first_letter
        self.order = longest_order(letters) if order is None else order
        self.residues = 0
        self._base = letters + 1  # the last symbol is the boundary
        self._counts = np.zeros(self._base**self.order, np.int32)
        self._lower: list[NDArray[np.int32]] = []

    def add(self, proteins: Iterable[Codes]) -> None:
        """Count the words of proteins.

        Args:
            proteins: (L,) codes each, without special tokens.
        """
        boundaries = np.zeros(self.order - 1, np.uint8)
        parts: list[Codes] = []
        size = 0
        for protein in proteins:
            parts += [boundaries, protein]
            size += len(protein)
            if size >= _RESIDUES_AT_ONCE:
                self._count(np.concatenate(parts))
                parts, size = [], 0
        if parts:
            self._count(np.concatenate(parts))

    def _count(self, tokens: Codes) -> None:
        """Count the words that end at each letter of joined proteins."""
        symbols = self._symbols(tokens)
        words = np.zeros(len(symbols), np.int64)
        for back in range(self.order - 1, -1, -1):
            words *= self._base
            words[back:] += symbols[: len(symbols) - back]
        words = words[symbols < self.letters]
        # In place: np.bincount is twice as fast, and makes a table of twice the size each time.
        np.add.at(self._counts, words, 1)
        self.residues += len(words)
        self._lower = []

    def _symbols(self, tokens: NDArray[np.integer]) -> NDArray[np.int64]:
        """Codes to 0..A-1, and A for every special token."""
        symbols = tokens.astype(np.int64) - self.first_letter
        return np.where(symbols < 0, self.letters, symbols)

    def histories(self, tokens: NDArray[np.integer]) -> NDArray[np.int64]:
        """What stands before each token of some rows.

        Args:
            tokens: (B, L) codes, special tokens included.

        Returns: (B, L, n - 1) symbols, the nearest last; boundaries from the nearest special token
            or the row's begin on.
        """
        symbols = self._symbols(tokens)
        histories = np.full((*symbols.shape, self.order - 1), self.letters)
        inside = np.ones(symbols.shape, bool)
        for back in range(1, self.order):
            before = np.full_like(symbols, self.letters)
            before[:, back:] = symbols[:, : symbols.shape[1] - back]
            inside &= before < self.letters
            histories[..., -back] = np.where(inside, before, self.letters)
        return histories

    def probabilities(self, histories: NDArray[np.int64]) -> NDArray[np.float64]:
        """Of every letter, after some histories.

        Args:
            histories: (N, n - 1) symbols, as of `histories`.

        Returns: (n, N, A); entry k - 1 is of order k, and its rows sum to 1.
        """
        found = np.empty((self.order, len(histories), self.letters))
        for begin in range(0, len(histories), _POSITIONS_AT_ONCE):
            here = slice(begin, begin + _POSITIONS_AT_ONCE)
            found[:, here] = self._interpolate(histories[here])
        return found

    def _interpolate(self, histories: NDArray[np.int64]) -> NDArray[np.float64]:
        found, tables = [], self._tables()
        lower = np.full((len(histories), self.letters), 1 / self.letters)
        for order in range(1, self.order + 1):
            history = np.zeros(len(histories), np.int64)
            for symbol in histories.T[self.order - order :]:
                history = history * self._base + symbol
            seen = tables[order - 1][history, : self.letters]
            different = (seen > 0).sum(1, keepdims=True)
            total = seen.sum(1, keepdims=True)
            mixed = (seen + different * lower) / np.maximum(total + different, 1)
            lower = np.where(total > 0, mixed, lower)
            found.append(lower)
        return np.stack(found)

    def _tables(self) -> list[NDArray[np.int32]]:
        """The (histories, A + 1) counts of words of each order, lowest first."""
        if not self._lower:
            counts = self._counts
            for _ in range(self.order):
                self._lower.insert(0, counts.reshape(-1, self._base))
                counts = counts.reshape(self._base, -1).sum(0, dtype=np.int32)
        return self._lower
