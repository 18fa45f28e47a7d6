"""Which proteins are exact copies of another: found on disk, in memory that hardly grows.

Each protein adds a row to one file: 128 bits of its sequence, 64 of its accession, its split. At
the end rows of equal sequences are brought together on the disk, in groups of some ten thousand
(see `grouping`), and what is a copy is noted there, too: 200 million proteins take 13 GB of disk
for a while, and memory that does not grow. The chance that two different ones share a digest is
below 1e-22.
"""

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from protein_performer.data.preparing.grouping import Rows, in_groups, read_rows

_ROW = 4  # uint64 words: two of the sequence's digest, the accession's, split and index
_INDEX_BITS = np.uint64(56)  # of the last word; the split is above


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
        self._file.flush()
        folder = self.path.with_name(self.path.name + ".parts")
        copies = Copies([_mask_on_disk(size, self.path.parent) for size in sizes])
        counts = np.zeros((len(sizes), 2), dtype=np.int64)
        total = os.path.getsize(self.path) // (8 * _ROW)
        for rows in in_groups(read_rows(self.path, _ROW), total, folder):
            _mark_copies(_alike(rows), copies, counts)
        copies.splits = [SplitCopies(*each) for each in counts.tolist()]
        accessions = (rows[:, 2:3] for rows in read_rows(self.path, _ROW))
        for rows in in_groups(accessions, total, folder):
            words = np.sort(rows[:, 0])
            copies.repeated_accessions += int(np.count_nonzero(words[1:] == words[:-1]))
        return copies


def _mask_on_disk(size: int, folder: Path) -> NDArray[np.bool_]:
    """(size,) False: a map of a file without a name, whose pages the system may write back."""
    if size == 0:
        return np.zeros(0, dtype=np.bool_)
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.asarray(np.memmap(file, dtype=np.bool_, mode="w+", shape=(size,)))


def _alike(rows: Rows) -> Rows:
    """Those that share their first word with another one: hardly any, and all that may be equal."""
    order = np.argsort(rows[:, 0])
    first = rows[order, 0]
    same = np.concatenate([[False], first[1:] == first[:-1], [False]])
    alike: Rows = rows[order[same[1:] | same[:-1]]]
    return alike


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
