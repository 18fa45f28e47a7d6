"""A row for each protein, or for each window of one: a protein sees no other.

Shapes: B rows, L positions.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from protein_performer.batch import BOS, EOS, pad_rows
from protein_performer.data.batches.layout import (
    Ints,
    Keys,
    Proteins,
    RowIndex,
    SortedProteins,
    content_keys,
)
from protein_performer.data.batches.sampler import BatchKey
from protein_performer.data.objectives import WINDOW, Codes
from protein_performer.data.randomness import hash64, random_bits

Crop = Literal["window", "start", "all"]

_WINDOW_BITS = 40  # a row is known by its protein's index + its window << 40


class ProteinRows:
    """Lays out single proteins.

    Args:
        split: where the proteins lie.
        max_length: residues of a row.
        crop: of longer proteins take a `window` at a random place, another one each epoch; the
            `start`; or `all`, one window after another, each a row of its own.
        seed: of windows, and of an objective's random bits.
        evaluating: random numbers follow from the protein's content instead of its index and
            the epoch, and a random window is the start: all models, batch sizes and runs meet the
            same questions, also when the proteins stand in another file.
    """

    def __init__(
        self, split: Proteins, *, max_length: int, crop: Crop, seed: int, evaluating: bool
    ) -> None:
        self.split = split
        self.max_length = max_length
        self.crop: Crop = "start" if evaluating and crop == "window" else crop
        self.seed = seed
        self.evaluating = evaluating

    def __call__(self, key: BatchKey) -> tuple[Codes, Keys]:
        """See `RowLayout`."""
        rows = key.records
        if self.crop == "all":
            window, proteins = rows >> _WINDOW_BITS, rows & ((1 << _WINDOW_BITS) - 1)
        else:
            window, proteins = None, rows
        residues = [self.split.residues(protein) for protein in proteins.tolist()]
        if self.evaluating:
            keys = content_keys(self.seed, residues)
        else:
            keys = hash64(self.seed, key.epoch, proteins)
        lengths = np.fromiter(map(len, residues), np.int64, len(residues))
        if window is None:
            starts = self._starts(lengths, keys)
        else:
            starts, keys = window * self.max_length, hash64(keys, window)
        return lay_out(residues, starts, self.max_length), keys

    def _starts(self, lengths: Ints, keys: Keys) -> Ints:
        choices = np.maximum(lengths - self.max_length, 0) + 1
        if self.crop == "start" or choices.max() == 1:
            return np.zeros(len(lengths), dtype=np.int64)
        bits = random_bits(keys, np.array([WINDOW]))
        return (bits % choices.astype(np.uint64)).astype(np.int64)


def lay_out(residues: list[Codes], starts: NDArray[np.int64], max_length: int) -> Codes:
    """Windows of proteins in rows: `<bos>`, residues, `<eos>` at a true end, `<pad>`.

    Args:
        residues: B arrays of the proteins' residues, whole.
        starts: (B,) where each window begins; 0 where the protein fits.
        max_length: residues of a window.

    Returns: (B, L) uint8.
    """
    rows = []
    for each, start in zip(residues, starts.tolist(), strict=True):
        window = each[start : start + max_length]
        rows.append((BOS, window, EOS) if start + len(window) == len(each) else (BOS, window))
    return pad_rows(rows)


def index_proteins(split: SortedProteins, max_length: int, crop: Crop) -> RowIndex:
    """The rows that `ProteinRows` makes of a split."""
    counts, by_length = split.length_counts(), split.by_length()
    if crop == "all" and len(counts) > max_length + 1:
        return _index_windows(counts, by_length, max_length)
    return RowIndex(counts, lambda places: by_length[places].astype(np.int64))


def _index_windows(counts: Ints, by_length: NDArray[np.integer], max_length: int) -> RowIndex:
    """All windows, found by arithmetic on how many proteins there are of each length.

    The rows of equal length form cells, each of proteins of one length: their last windows, or
    (where rows are full) all windows before the last.
    """
    lengths = np.flatnonzero(counts)
    full = np.maximum(lengths - 1, 0) // max_length  # windows before the last
    cell_row = np.concatenate([lengths - full * max_length, np.full(len(lengths), max_length)])
    cell_length, cell_full = np.tile(lengths, 2), np.tile(full, 2)
    is_last = np.arange(2 * len(lengths)) < len(lengths)
    size = np.tile(counts[lengths], 2) * np.where(is_last, 1, cell_full)
    order = np.argsort(cell_row, kind="stable")
    cell_length, cell_full, is_last = cell_length[order], cell_full[order], is_last[order]
    ends = np.cumsum(size[order])
    first_protein = (np.cumsum(counts) - counts)[cell_length]  # of each cell, a place by length

    def at(places: Ints) -> Ints:
        cell = np.searchsorted(ends, places, side="right")
        within = places - (ends - size[order])[cell]
        many = np.where(is_last, 1, cell_full)[cell]
        protein = by_length[first_protein[cell] + within // many].astype(np.int64)
        window = np.where(is_last[cell], cell_full[cell], within % many)
        return np.asarray(protein + (window << _WINDOW_BITS))

    return RowIndex(np.bincount(cell_row, size).astype(np.int64), at)
