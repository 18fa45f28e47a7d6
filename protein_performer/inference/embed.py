"""Embeddings of whole FASTA files, streamed into HDF5.

The file holds matrices rather than one dataset a protein: a twentieth of the overhead, and names
that may repeat or hold a slash.

Shapes: N proteins, T residues of all of them, E model width.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from protein_performer.alphabet import ResiduePolicy
from protein_performer.data.reading.sources import Source
from protein_performer.errors import UserError
from protein_performer.inference.batched_model import aligned
from protein_performer.inference.encoded_proteins import (
    Protein,
    SourceCounts,
    in_chunks,
    read_proteins,
)
from protein_performer.inference.trained_model import Pooling, TrainedModel


def embed_file(
    model: TrainedModel,
    sources: Source | Sequence[Source],
    out: Path,
    *,
    pooling: Pooling = "mean",
    residue_policy: ResiduePolicy | None = None,
    dtype: str = "float32",
    attributes: dict[str, Any] | None = None,
) -> SourceCounts:
    """Embed every protein of a source, in its order.

    Writes the datasets `accession` (N,) text, `length` (N,) int64 and `embedding`: (N, E) for
    `mean`; for `residue` (T, E), with protein i in rows `offset[i]:offset[i + 1]` of it. The file
    appears under its name when it is complete. Memory is bounded by a thousand proteins.

    Args:
        model: a loaded checkpoint.
        sources: what `read_records` takes: FASTA(.gz) files or globs.
        out: the HDF5 file; must not exist.
        pooling: see `TrainedModel.embed`.
        residue_policy: of characters outside the alphabet; None as `TrainedModel.encode`.
        dtype: of the embeddings, float32 or float16.
        attributes: further facts for the file's attributes.

    Raises: UserError for a model of text, an existing `out`, a source that cannot be read or has no
        protein in it.
    """
    model.check_reads_proteins()
    if out.exists():
        raise UserError(f"{out}: the file exists. Remove it, or choose another name.")
    if dtype not in ("float32", "float16"):
        raise UserError(f"dtype: expected float32 or float16, got {dtype!r}")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".partial")
    counts = SourceCounts()
    policy = residue_policy or aligned(model.checkpoint.residue_policy)
    proteins = read_proteins(sources, model.alphabet, policy, counts)
    with h5py.File(partial, "w") as file:
        writer = _Writer(file, model.width, pooling, dtype)
        file.attrs.update({"pooling": pooling, **(attributes or {})})
        for chunk in in_chunks(proteins):
            rows = model.embed_codes([protein.codes for protein in chunk], pooling)
            writer.append(chunk, rows)
    os.replace(partial, out)
    return counts


class _Writer:
    """Appends to the datasets of one file."""

    def __init__(self, file: h5py.File, width: int, pooling: Pooling, dtype: str) -> None:
        self.pooling = pooling
        self.accession = file.create_dataset(
            "accession", (0,), maxshape=(None,), dtype=h5py.string_dtype(), chunks=(4096,)
        )
        self.length = file.create_dataset(
            "length", (0,), maxshape=(None,), dtype=np.int64, chunks=(4096,)
        )
        self.embedding = file.create_dataset(
            "embedding", (0, width), maxshape=(None, width), dtype=dtype, chunks=(256, width)
        )
        if pooling == "residue":
            self.offset = file.create_dataset(
                "offset", data=np.zeros(1, np.int64), maxshape=(None,), chunks=(4096,)
            )

    def append(self, proteins: list[Protein], rows: Any) -> None:
        lengths = np.array([len(protein.codes) for protein in proteins])
        _extend(self.accession, [protein.accession for protein in proteins])
        _extend(self.length, lengths)
        if self.pooling == "mean":
            _extend(self.embedding, np.stack([each.numpy() for each in rows]))
            return
        _extend(self.offset, int(self.offset[-1]) + np.cumsum(lengths))
        _extend(self.embedding, np.concatenate([each.numpy() for each in rows]))


def _extend(dataset: h5py.Dataset, values: Any) -> None:
    start = dataset.shape[0]
    dataset.resize(start + len(values), axis=0)
    dataset[start:] = values
