"""Embeddings to HDF5: as matrices, or in the layout of UniProt's own downloads.

Shapes: N proteins, T rows of all of them, E model width.
"""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from protein_performer.inference.embedding.embedding_parts import Embeddings


def write_matrices(embeddings: Embeddings, path: Path) -> None:
    """A dataset for each array: a twentieth of the overhead of one for each protein."""
    shape = (embeddings.rows, embeddings.width)
    count = (embeddings.proteins,)
    with _writing(path, embeddings.manifest) as file:
        text = h5py.string_dtype()
        names = (np.array(part.accessions, object) for part in embeddings.heads())
        _fill(file.create_dataset("accession", count, dtype=text), names)
        lengths = (part.lengths for part in embeddings.heads())
        _fill(file.create_dataset("length", count, dtype=np.int64), lengths)
        if embeddings.per_residue:
            ends = file.create_dataset("offset", (embeddings.proteins + 1,), dtype=np.int64)
            _fill(ends, embeddings.offsets())
        for name in embeddings.names:
            dataset = file.create_dataset(name, shape, dtype=embeddings.dtype)
            _fill(dataset, embeddings.vectors(name))


def write_by_accession(embeddings: Embeddings, path: Path) -> None:
    """As UniProt's own downloads: a dataset for each accession, (E,) or (L_i, E).

    Several layers are a group each. A slash would make a group, and `.` stands for one: other
    characters take their part, and a name that is taken gets a number. The accession as it was is
    the dataset's attribute `original_id`; the datasets are in the order of the sources.
    """
    several = len(embeddings.names) > 1
    with _writing(path, embeddings.manifest) as file:
        roots = {
            name: file.create_group(name, track_order=True) if several else file
            for name in embeddings.names
        }
        taken: set[str] = set()
        for part in embeddings.parts():
            ends = np.cumsum(part.lengths)
            for i, accession in enumerate(part.accessions):
                name = _free_name(accession, taken)
                per_residue = embeddings.per_residue
                rows = slice(ends[i] - part.lengths[i], ends[i]) if per_residue else i
                for layer, root in roots.items():
                    dataset = root.create_dataset(name, data=part.vectors[layer][rows])
                    dataset.attrs["original_id"] = accession


def manifest_text(path: Path) -> str:
    """The manifest of a file. Raises OSError or KeyError for another program's."""
    with h5py.File(path) as file:
        return str(file.attrs["manifest"])


def _fill(dataset: h5py.Dataset, pieces: Iterator[Any]) -> None:
    begin = 0
    for piece in pieces:
        if len(piece):
            dataset[begin : begin + len(piece)] = piece
        begin += len(piece)


def _free_name(accession: str, taken: set[str]) -> str:
    safe = accession.replace("/", "_").replace("\0", "_")
    safe = safe if safe.strip(".") else "_"
    name, number = safe, 1
    while name in taken:
        number += 1
        name = f"{safe}__{number}"
    taken.add(name)
    return name


@contextmanager
def _writing(path: Path, manifest: dict[str, Any]) -> Iterator[h5py.File]:
    """A new HDF5 file with the manifest as an attribute, and the simple ones of its facts."""
    with path.open("wb+", buffering=0) as raw:
        checked = _CheckedFile(raw)
        with h5py.File(checked, "w", track_order=True) as file:
            file.attrs["manifest"] = json.dumps(manifest)
            for key, value in manifest.items():
                if isinstance(value, str | int | float):
                    file.attrs[key] = value
            yield file
        if checked.error is not None:
            raise checked.error


class _CheckedFile(io.RawIOBase):
    """A file for HDF5 that keeps its first failure, and is deaf from then on.

    HDF5 cannot close a file that it could not write, as on a full disk: it tries again at the end
    of the process, and crashes it.
    """

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        try:
            written = 0
            while self.error is None and written < len(view):
                written += self._raw.write(view[written:])
        except OSError as error:
            self.error = error
        return len(view)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        read = self._raw.readinto(view) or 0
        view[read:] = bytes(len(view) - read)
        return len(view)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        position: int = self._raw.seek(offset, whence)
        return position

    def tell(self) -> int:
        position: int = self._raw.tell()
        return position

    def truncate(self, size: int | None = None) -> int:
        try:
            self._raw.truncate(size)
        except OSError as error:
            self.error = self.error or error
        return size or 0

    def flush(self) -> None:
        """Nothing is held back."""
