"""Rows of digests -> groups of rows that may be equal, each small enough to sort in memory.

Rows are dealt out to 64 files by the first six bits of their first word, a file that is still too
long to 64 more by the next six. Digests are spread evenly, so a group is small unless its rows are
equal.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_TOGETHER = 2**16  # rows in memory at once
_BITS = 6  # that tell the file
_LEAST_BITS = 64 - 4 * _BITS  # what still stays together then is equal: 16 million files

Rows = NDArray[np.uint64]  # (N, W), words


def read_rows(path: Path, words: int) -> Iterator[Rows]:
    """The rows of a file, some at a time.

    Args:
        path: of little-endian words of 64 bits.
        words: W, of a row.
    """
    with path.open("rb") as file:
        while read := file.read(_TOGETHER * words * 8):
            yield np.frombuffer(read, dtype="<u8").reshape(-1, words)


def in_groups(pieces: Iterator[Rows], count: int, folder: Path, bits: int = 64) -> Iterator[Rows]:
    """All rows, those that agree in their first word in one group.

    Args:
        pieces: the rows, some at a time.
        count: of rows.
        folder: made for the files of many rows, and removed at the end.
        bits: of the first word that may differ.
    """
    if count == 0:
        return
    if count <= _TOGETHER or bits <= _LEAST_BITS:
        yield np.concatenate(list(pieces))
        return
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    folder.mkdir()
    words = _deal_out(pieces, _paths(folder), bits - _BITS)
    for path in _paths(folder):
        rows = path.stat().st_size // (8 * words)
        yield from in_groups(read_rows(path, words), rows, path.with_suffix(".parts"), bits - _BITS)
        path.unlink()
    folder.rmdir()


def _paths(folder: Path) -> list[Path]:
    return [folder / f"{part:02}" for part in range(1 << _BITS)]


def _deal_out(pieces: Iterator[Rows], paths: list[Path], shift: int) -> int:
    """Append each row to the file that its bits above `shift` tell; words of a row."""
    words = 1
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("wb")) for path in paths]
        for rows in pieces:
            words = rows.shape[1]
            part = ((rows[:, 0] >> np.uint64(shift)) % np.uint64(len(files))).astype(np.uint8)
            ends = np.cumsum(np.bincount(part, minlength=len(files)))[:-1]
            rows = rows[np.argsort(part, kind="stable")]  # a radix sort, of one byte
            for file, here in zip(files, np.split(rows, ends), strict=True):
                file.write(here.tobytes())
    return words
