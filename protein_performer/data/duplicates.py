"""Which proteins are exact copies of another: found on disk, in memory that hardly grows.

Each protein's 128-bit digest is appended to one of 256 files by its first bits. Equal sequences
meet in the same file, and one file at a time is sorted: of 200 million proteins, 6.4 GB on disk
and about 100 MB in memory. The chance that two different ones share a digest is below 1e-22.
"""

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_FILES = 256
_WRITTEN_TOGETHER = 2**18  # rows
_ROW = 4  # uint64 words: two of the digest, split, index in the split


def digest_each(tokens: NDArray[np.uint8], lengths: NDArray[np.int64]) -> NDArray[np.uint64]:
    """(N, 2) digests of N sequences that stand in `tokens` one after another."""
    content, begin, digests = tokens.tobytes(), 0, []
    for length in lengths.tolist():
        digests.append(blake2b(content[begin : begin + length], digest_size=16).digest())
        begin += length
    return np.frombuffer(b"".join(digests), dtype="<u8").reshape(-1, 2)


class DuplicateFinder:
    """Collects digests, then says which proteins to leave out.

    Args:
        folder: made for its files; `duplicates` removes it again.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self._paths = [folder / f"{file:02x}" for file in range(_FILES)]
        self._waiting: list[NDArray[np.uint64]] = []  # rows not yet in the files
        self._num_waiting = 0

    def add(
        self, digests: NDArray[np.uint64], split: NDArray[np.uint8], index: NDArray[np.int64]
    ) -> None:
        """Note N proteins.

        Args:
            digests: (N, 2).
            split: (N,) of several splits that hold a copy, the highest keeps it.
            index: (N,) in the split; of several copies there, the first is kept.
        """
        rows = np.empty((len(digests), _ROW), dtype="<u8")
        rows[:, :2], rows[:, 2], rows[:, 3] = digests, split, index
        self._waiting.append(rows)
        self._num_waiting += len(rows)
        if self._num_waiting >= _WRITTEN_TOGETHER:
            self._write()

    def _write(self) -> None:
        rows = np.concatenate([np.empty((0, _ROW), "<u8"), *self._waiting])
        self._waiting, self._num_waiting = [], 0
        file = (rows[:, 0] >> np.uint64(56)).astype(np.int64)
        order = np.argsort(file, kind="stable")
        rows, bounds = rows[order], np.searchsorted(file[order], np.arange(_FILES + 1))
        for path, begin, end in zip(self._paths, bounds, bounds[1:], strict=False):
            with path.open("ab") as lines:
                lines.write(rows[begin:end].tobytes())

    def duplicates(self, sizes: list[int]) -> list[NDArray[np.bool_]]:
        """For each split, given how many proteins it has: True where a protein is left out."""
        duplicate = [np.zeros(size, dtype=np.bool_) for size in sizes]
        for rows in self._parts():
            high, low, split, index = rows[_order(rows)].T
            again = np.flatnonzero((high[1:] == high[:-1]) & (low[1:] == low[:-1])) + 1
            for number, mask in enumerate(duplicate):
                mask[index[again[split[again] == number]].astype(np.int64)] = True
        self.folder.rmdir()
        return duplicate

    def _parts(self) -> Iterator[NDArray[np.uint64]]:
        """All rows, those of equal digests in one part."""
        if not self._paths[0].exists():  # few enough to have stayed in memory
            yield np.concatenate([np.empty((0, _ROW), "<u8"), *self._waiting])
            return
        self._write()
        for path in self._paths:
            yield np.fromfile(path, dtype="<u8").reshape(-1, _ROW)
            path.unlink()


def _order(rows: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Equal digests together, the copy that is kept first among them."""
    return np.lexsort((rows[:, 3], ~rows[:, 2], rows[:, 1], rows[:, 0]))
