"""Which proteins are exact copies of another: found on disk, in memory that hardly grows.

Each protein adds a row to one file: 128 bits of its sequence, 64 of its accession, its split. At
the end equal sequences are brought together in 256 files by their first bits, and one file at a
time is sorted: of 200 million proteins, 6.4 GB on disk and about 100 MB in memory. The chance that
two different ones share a digest is below 1e-22.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_FILES = 256
_READ_TOGETHER = 2**18  # rows
_ROW = 4  # uint64 words: two of the sequence's digest, the accession's, split and index
_INDEX_BITS = np.uint64(56)  # of the last word; the split is above

Rows = NDArray[np.uint64]


class SplitCopies(NamedTuple):
    """Proteins of a split that are exact copies of one that is kept.

    Attributes:
        within: the kept one is of the same split.
        across: it is of another one; trained on, they would leak.
    """

    within: int
    across: int


@dataclass
class Copies:
    """What was found.

    Attributes:
        left_out: for each split, (stored proteins,) True where a protein is left out.
        splits: how many these are.
        leaks: equal sequences among the proteins that stay: 0, measured.
        repeated_accessions: records whose accession another one has, too, the first not counted.
    """

    left_out: list[NDArray[np.bool_]]
    splits: list[SplitCopies] = field(default_factory=list)
    leaks: int = 0
    repeated_accessions: int = 0


class DigestFile:
    """Rows of digests, appended.

    Args:
        path: of the file.
        rows: how many of those that it already has to keep.
    """

    def __init__(self, path: Path, rows: int = 0) -> None:
        self.path = path
        self._file = path.open("r+b" if rows else "wb")
        self._file.truncate(rows * _ROW * 8)
        self._file.seek(0, os.SEEK_END)

    def add(self, digests: Rows, split: NDArray[np.uint8], index: NDArray[np.int64]) -> None:
        """Append N proteins.

        Args:
            digests: (N, 3), two words of the sequence and one of the accession.
            split: (N,) of several splits that hold a copy, the highest keeps it.
            index: (N,) in the split; of several copies there, the first is kept.
        """
        last = (split.astype(np.uint64) << _INDEX_BITS) | index.astype(np.uint64)
        self._file.write(np.column_stack([digests, last]).astype("<u8", copy=False).tobytes())

    def sync(self) -> None:
        """Bring everything to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """No more rows."""
        self._file.close()

    def find_copies(self, sizes: list[int]) -> Copies:
        """Compare all rows.

        Args:
            sizes: proteins of each split.
        """
        copies = Copies([np.zeros(size, dtype=np.bool_) for size in sizes])
        counts = np.zeros((len(sizes), 2), dtype=np.int64)
        for rows in self._groups(by=0):
            _mark_copies(rows, copies, counts)
        copies.splits = [SplitCopies(*each) for each in counts.tolist()]
        for rows in self._groups(by=2):
            copies.repeated_accessions += len(rows) - len(np.unique(rows[:, 2]))
        return copies

    def _groups(self, by: int) -> Iterator[Rows]:
        """All rows, those that agree in the word `by` in one group; leaves no file behind."""
        self._file.flush()
        if os.path.getsize(self.path) <= _READ_TOGETHER * _ROW * 8:
            yield np.fromfile(self.path, dtype="<u8").reshape(-1, _ROW)
            return
        folder = self.path.with_name(self.path.name + ".parts")
        shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
        folder.mkdir()
        self._deal_out(folder, by)
        for path in sorted(folder.iterdir()):
            yield np.fromfile(path, dtype="<u8").reshape(-1, _ROW)
            path.unlink()
        folder.rmdir()

    def _deal_out(self, folder: Path, by: int) -> None:
        with self.path.open("rb") as file:
            while read := file.read(_READ_TOGETHER * _ROW * 8):
                rows = np.frombuffer(read, dtype="<u8").reshape(-1, _ROW)
                number = (rows[:, by] >> np.uint64(56)).astype(np.int64)
                order = np.argsort(number, kind="stable")
                rows, ends = rows[order], np.cumsum(np.bincount(number, minlength=_FILES))
                for part, end in enumerate(ends.tolist()):
                    with (folder / f"{part:02x}").open("ab") as group:
                        group.write(rows[ends[part - 1] if part else 0 : end].tobytes())


def _mark_copies(rows: Rows, copies: Copies, counts: NDArray[np.int64]) -> None:
    """Keep of equal sequences one of the highest split, there the first; leave the others out."""
    split = (rows[:, 3] >> _INDEX_BITS).astype(np.int64)
    index = (rows[:, 3] & ((np.uint64(1) << _INDEX_BITS) - np.uint64(1))).astype(np.int64)
    order = np.lexsort((index, -split, rows[:, 1], rows[:, 0]))
    high, low, split, index = rows[order, 0], rows[order, 1], split[order], index[order]
    is_copy = np.zeros(len(rows), dtype=np.bool_)
    is_copy[1:] = (high[1:] == high[:-1]) & (low[1:] == low[:-1])
    kept = np.maximum.accumulate(np.where(is_copy, 0, np.arange(len(rows))))
    across = split != split[kept]
    for number, left_out in enumerate(copies.left_out):
        here = is_copy & (split == number)
        left_out[index[here]] = True
        counts[number] += np.count_nonzero(here & ~across), np.count_nonzero(here & across)
    copies.leaks += _count_leaks(high, low, split, index, copies.left_out)


def _count_leaks(
    high: Rows,
    low: Rows,
    split: NDArray[np.int64],
    index: NDArray[np.int64],
    left_out: list[NDArray[np.bool_]],
) -> int:
    """Sorted rows that are in, though the one before is in, too, and equal."""
    remaining = np.ones(len(high), dtype=np.bool_)
    for number, mask in enumerate(left_out):
        here = split == number
        remaining[here] = ~mask[index[here]]
    high, low = high[remaining], low[remaining]
    return int(np.count_nonzero((high[1:] == high[:-1]) & (low[1:] == low[:-1])))
