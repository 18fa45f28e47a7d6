"""Which proteins are exact copies of another: found on disk, in memory that hardly grows.

Each protein adds a row to one file: 128 bits of its sequence, 64 of its accession, its split. At
the end rows that may be equal are brought together on the disk, in groups that fit in memory, and
what is a copy is noted there, too: 200 million proteins take 13 GB of disk for a while. The chance
that two different ones share a digest is below 1e-22.
"""

import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protein_performer.errors import UserError

_ROW = 4  # uint64 words: two of the sequence's digest, the accession's, split and index
_INDEX_BITS = np.uint64(56)  # of the last word; the split is above
_PIECE = 2**16  # rows read at once
_GROUP = 2**18  # rows compared in memory at once
_MOST_GROUPS = 512  # files open at once

Rows = NDArray[np.uint64]  # (N, W), words


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


class DigestFile:
    """Rows of digests, appended.

    Args:
        path: of the file.
        state: what `state()` of an earlier one gave: this one goes on behind its rows.

    Raises: UserError if these are not there as they were written.
    """

    def __init__(self, path: Path, state: dict[str, Any] | None = None) -> None:
        self.path = path
        self.rows: int = state["rows"] if state else 0
        self._checksum = 0
        self._file = path.open("r+b" if state else "wb")
        self._file.truncate(8 * _ROW * self.rows)
        while piece := self._file.read(1 << 20) if state else b"":
            self._checksum = zlib.crc32(piece, self._checksum)
        if state and (self._file.tell(), self._checksum) != (8 * _ROW * self.rows, state["crc32"]):
            self._file.close()
            raise UserError(f"{path}: damaged (not the rows that were written)")

    def add(self, digests: Rows, split: NDArray[np.uint8], index: NDArray[np.int64]) -> None:
        """Append N proteins.

        Args:
            digests: (N, 3), two words of the sequence and one of the accession.
            split: (N,) of several splits that hold a copy, the highest keeps it.
            index: (N,) in the split; of several copies there, the first is kept.
        """
        last = (split.astype(np.uint64) << _INDEX_BITS) | index.astype(np.uint64)
        rows = np.column_stack([digests, last]).astype("<u8", copy=False).tobytes()
        self._checksum = zlib.crc32(rows, self._checksum)
        self._file.write(rows)
        self.rows += len(digests)

    def state(self) -> dict[str, Any]:
        """How far this is, in plain types, once everything is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return {"rows": self.rows, "crc32": self._checksum}

    def close(self) -> None:
        """No more rows."""
        self._file.close()

    def find_copies(self, sizes: list[int]) -> Copies:
        """Compare the sequences of all rows.

        Args:
            sizes: proteins of each split.
        """
        copies = Copies(
            [_mask_on_disk(size, self.path.parent) for size in sizes],
            [0] * len(sizes),
            [0] * len(sizes),
        )
        for rows in _in_groups(self._read(), self.rows, self.path.parent):
            _mark_copies(_alike(rows), copies)
        return copies

    def count_names(self, listed: Iterable[NDArray[np.uint64]] | None) -> tuple[int, int]:
        """Compare the accessions of all rows with each other, and with a table.

        Args:
            listed: digests of the table's accessions, some at a time; None without a table.

        Returns: records whose accession another one has, too, the first not counted; and those
            whose accession the table does not name, 0 without a table.
        """
        repeated = unlisted = 0
        marked: Iterator[Rows] = (_marked(rows[:, 2], False) for rows in self._read())
        if listed is not None:
            marked = chain(marked, (_marked(each, True) for each in listed))
        for rows in _in_groups(marked, self.rows, self.path.parent):
            in_table = rows[:, 1] > 0
            names, table = np.sort(rows[~in_table, 0]), rows[in_table, 0]
            repeated += int(np.count_nonzero(names[1:] == names[:-1]))
            unlisted += int(np.count_nonzero(~np.isin(names, table)))
        return repeated, unlisted if listed is not None else 0

    def _read(self) -> Iterator[Rows]:
        self._file.flush()
        with self.path.open("rb") as file:
            while read := file.read(8 * _ROW * _PIECE):
                yield np.frombuffer(read, dtype="<u8").reshape(-1, _ROW)


def _marked(digests: NDArray[np.uint64], in_table: bool) -> Rows:
    return np.column_stack([digests, np.full_like(digests, in_table)])


def _in_groups(pieces: Iterator[Rows], count: int, folder: Path) -> Iterator[Rows]:
    """All rows, those that agree in their first word in one group.

    Rows are dealt out to files by the first bits of that word. Digests are spread evenly, so groups
    are of one size unless rows are equal.

    Args:
        pieces: the rows, some at a time.
        count: about how many there are.
        folder: for the files, which have no name.
    """
    bits = 0
    while count > _GROUP << bits and 1 << bits < _MOST_GROUPS:
        bits += 1
    if bits == 0:
        if together := list(pieces):
            yield np.concatenate(together)
        return
    width = 1
    with ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile(dir=folder)) for _ in range(1 << bits)]
        for rows in pieces:
            width = rows.shape[1]
            group = (rows[:, 0] >> np.uint64(64 - bits)).astype(np.uint16)
            ends = np.cumsum(np.bincount(group, minlength=len(files)))[:-1]
            rows = rows[np.argsort(group, kind="stable")]
            for file, here in zip(files, np.split(rows, ends), strict=True):
                file.write(here.tobytes())
        for file in files:
            file.seek(0)
            if read := file.read():
                yield np.frombuffer(read, dtype=np.uint64).reshape(-1, width)


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


def _mark_copies(rows: Rows, copies: Copies) -> None:
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
        copies.within[number] += int(np.count_nonzero(here & ~across))
        copies.across[number] += int(np.count_nonzero(here & across))
