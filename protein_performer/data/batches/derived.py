"""Arrays that follow from a split, kept beside its shards: made once, then mapped."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protein_performer.data.shards import StoredSplit
from protein_performer.errors import UserError


class DerivedArrays:
    """Named arrays of a folder; maps the files, copies nothing, and pickles as the path alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mapped: dict[str, NDArray[Any]] = {}

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._mapped:
            path = self.folder / f"{name}.npy"
            self._mapped[name] = np.asarray(np.load(path, mmap_mode="r"))
        return self._mapped[name]

    def __getstate__(self) -> dict[str, Any]:
        """For a worker process: it maps the files itself."""
        return {"folder": self.folder, "_mapped": {}}


def derive(folder: Path, write: Callable[[Path], None]) -> DerivedArrays:
    """The arrays of a folder, written first if it is not there; it appears whole or not at all.

    Args:
        folder: where they belong.
        write: writes them into the folder that it is given.
    """
    if not folder.is_dir():
        prefix = f".{folder.name}-"
        try:
            with tempfile.TemporaryDirectory(prefix=prefix, dir=folder.parent) as scratch:
                made = Path(scratch) / folder.name
                made.mkdir()
                write(made)
                made.rename(folder)
        except OSError as error:
            if not folder.is_dir():  # else another process was faster
                raise UserError(
                    f"{folder}: cannot be written ({error.strerror or error}). For rows of several"
                    " proteins an index is kept beside the shards: prepare into a folder of yours."
                ) from None
    return DerivedArrays(folder)


def create(path: Path, dtype: Any, size: int) -> NDArray[Any]:
    """A new array on disk, to be filled part by part without being held in memory."""
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(size,))


def taking_part(split: StoredSplit) -> NDArray[np.bool_]:
    """(stored proteins,) False for exact copies, which stay out; of a split that is not empty."""
    mask = np.zeros(split.stored, dtype=np.bool_)
    by_length = split.by_length()
    for begin in range(0, len(by_length), 2**20):
        mask[by_length[begin : begin + 2**20]] = True
    return mask
