"""Which proteins are exact copies of another: found on disk, in memory that hardly grows.

Each protein adds a row to one file: 128 bits of its sequence, its split and index, 64 bits of its
accession. At the end the rows are sorted in a map of a file, whose pages the system may write back;
copies stand side by side then. 200 million proteins take 13 GB of disk for a while. The chance that
two different ones share a digest is below 1e-22.
"""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protein_performer.data.preparing.appended_file import AppendedFile
from protein_performer.data.preparing.sorted_file import sorted_on_disk

_ROW = np.dtype([("high", "<u8"), ("low", "<u8"), ("place", ">u8"), ("accession", "<u8")])
_SORTED = f"S{_ROW.itemsize}"  # as which rows are compared: byte by byte
_INDEX_BITS = np.uint64(56)  # of the place; above it 255 - split, so that the highest comes first
_PIECE = 2**16  # rows looked at together


class Copies(NamedTuple):
    """What was found.

    Attributes:
        left_out: for each split, (stored proteins,) True where a protein is left out: it is a copy
            of one that is kept.
        within: for each split, how many of these are copies of a protein of the same split.
        across: of one of another split; trained on, they would leak.
    """

    left_out: list[NDArray[np.bool_]]
    within: list[int]
    across: list[int]


class DigestFile(AppendedFile):
    """Rows of digests, appended."""

    def add(
        self, digests: NDArray[np.uint64], split: NDArray[np.uint8], index: NDArray[np.int64]
    ) -> None:
        """Append N proteins.

        Args:
            digests: (N, 3), two words of the sequence and one of the accession.
            split: (N,) of several splits that hold a copy, the highest keeps it.
            index: (N,) in the split; of several copies there, the first is kept.
        """
        rows = np.empty(len(digests), dtype=_ROW)
        rows["high"], rows["low"], rows["accession"] = digests.T
        rows["place"] = (255 - split.astype(np.uint64) << _INDEX_BITS) | index.astype(np.uint64)
        self.write(rows.tobytes())

    def find_copies(self, sizes: list[int]) -> Copies:
        """Compare the sequences of all rows.

        Args:
            sizes: proteins of each split.
        """
        folder = self.path.parent
        left_out = [_no_marks(size, folder) for size in sizes]
        copies = Copies(left_out, [0] * len(sizes), [0] * len(sizes))
        pieces = (piece.view(_SORTED) for piece in self._read())
        rows = sorted_on_disk(pieces, _SORTED, folder).view(_ROW)
        before, kept_split = rows[:0], -1  # the last row, and the split that keeps its sequence
        for begin in range(0, len(rows), _PIECE):
            here = rows[begin : begin + _PIECE]
            is_copy = np.zeros(len(here), dtype=np.bool_)
            with_last = np.concatenate([before, here])
            high, low = with_last["high"], with_last["low"]
            is_copy[1 - len(before) :] = (high[1:] == high[:-1]) & (low[1:] == low[:-1])
            split = 255 - (here["place"] >> _INDEX_BITS).astype(np.int64)
            index = (here["place"] & ((1 << _INDEX_BITS) - np.uint64(1))).astype(np.int64)
            first = np.maximum.accumulate(np.where(is_copy, -1, np.arange(len(here))))
            keeper = np.where(first < 0, kept_split, split[first])
            before, kept_split = here[-1:], int(keeper[-1])
            for number, mask in enumerate(left_out):
                ours = is_copy & (split == number)
                mask[index[ours]] = True
                copies.within[number] += int(np.count_nonzero(ours & (keeper == number)))
                copies.across[number] += int(np.count_nonzero(ours & (keeper != number)))
        return copies

    def count_names(self, table: Iterable[NDArray[np.uint64]] | None) -> tuple[int, int]:
        """Compare the accessions of all rows with each other, and with a table.

        Args:
            table: digests of the table's accessions, some at a time; None without a table.

        Returns: records whose accession another one has, too, the first not counted; and those
            whose accession the table does not name, 0 without a table.
        """
        folder = self.path.parent
        names = sorted_on_disk((piece["accession"] for piece in self._read()), "<u8", folder)
        begins = range(0, len(names), _PIECE)
        overlapping = (names[begin : begin + _PIECE + 1] for begin in begins)
        repeated = sum(int(np.count_nonzero(each[1:] == each[:-1])) for each in overlapping)
        if table is None:
            return repeated, 0
        listed = sorted_on_disk(table, "<u8", folder)
        pieces = (names[begin : begin + _PIECE] for begin in begins)
        return repeated, sum(_count_unlisted(each, listed) for each in pieces)

    def _read(self) -> Iterator[NDArray[Any]]:
        self.flush()
        with self.path.open("rb") as file:
            while read := file.read(_ROW.itemsize * _PIECE):
                yield np.frombuffer(read, dtype=_ROW)


def _no_marks(size: int, folder: Path) -> NDArray[np.bool_]:
    """(size,) False: a map of a file without a name."""
    if size == 0:
        return np.zeros(0, dtype=np.bool_)
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.asarray(np.memmap(file, dtype=np.bool_, mode="w+", shape=(size,)))


def _count_unlisted(words: NDArray[np.uint64], listed: NDArray[np.uint64]) -> int:
    """How many words are not among sorted ones."""
    behind = np.searchsorted(listed, words, side="right")
    return int(np.count_nonzero(behind == np.searchsorted(listed, words)))
