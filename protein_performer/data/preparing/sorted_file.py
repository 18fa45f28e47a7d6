"""Sorting more than memory holds: in a map of a file, whose pages the system may write back."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def sorted_on_disk(pieces: Iterable[NDArray[Any]], dtype: DTypeLike, folder: Path) -> NDArray[Any]:
    """All values, sorted: a map of a file without a name.

    Args:
        pieces: arrays of one dimension; read one after another, and not held.
        dtype: of the result.
        folder: where there is room for the file.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        for piece in pieces:
            file.write(piece.astype(dtype, copy=False).tobytes())
        if not file.tell():
            return np.zeros(0, dtype)
        file.flush()
        values = np.asarray(np.memmap(file, dtype, mode="r+"))
    values.sort()
    return values
