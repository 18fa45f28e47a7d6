"""Embeddings to one file, in a format for each ecosystem: .h5, .npz, .parquet, .safetensors.

All hold `accession`, `length` and the vectors, in the order of the sources, and a manifest of what
they are. With one row a residue, protein i has the rows `offset[i]:offset[i + 1]`. Each is written
a part at a time, so that memory does not grow with the number of proteins.

Shapes: N proteins, T rows of all of them, E model width.
"""

import json
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from protein_performer.errors import UserError
from protein_performer.files import replacing
from protein_performer.inference.embedding.embedding_hdf5 import (
    manifest_text,
    write_by_accession,
    write_matrices,
)
from protein_performer.inference.embedding.embedding_parts import Embeddings
from protein_performer.inference.row_file import Column, check_row_path, row_metadata, writing_rows

Layout = Literal["matrix", "uniprot"]

SUFFIXES = (".h5", ".hdf5", ".npz", ".parquet", ".safetensors")
_SAFETENSORS = {"float32": "F32", "float16": "F16", "int64": "I64", "uint8": "U8"}


def check_output(out: Path, layout: str, *, overwrite: bool) -> None:
    """Raise UserError if nothing can be written there, before the work that makes it."""
    if out.suffix not in SUFFIXES:
        raise UserError(f"{out}: expected a name that ends in {', '.join(SUFFIXES)}")
    if layout not in get_args(Layout):
        raise UserError(f"layout: expected {' or '.join(get_args(Layout))}, got {layout!r}")
    if layout == "uniprot" and out.suffix not in (".h5", ".hdf5"):
        raise UserError(f"layout=uniprot is of HDF5 files: expected {out.stem}.h5, got {out.name}")
    if out.is_dir():
        raise UserError(f"{out}: expected a file to write, this is a folder")
    if out.exists() and not overwrite:
        raise UserError(f"{out}: the file exists. Remove it, choose another, or --overwrite.")
    if out.suffix == ".parquet":
        check_row_path(out, overwrite=overwrite)


def write_embeddings(embeddings: Embeddings, out: Path, layout: Layout = "matrix") -> None:
    """Write a file of the format that the suffix says; it appears when it is complete.

    Raises: OSError if the disk is full or cannot be written.
    """
    if out.suffix == ".parquet":
        _write_parquet(embeddings, out)
        return
    write: Callable[[Embeddings, Path], None]
    if out.suffix == ".npz":
        write = _write_npz
    elif out.suffix == ".safetensors":
        write = _write_safetensors
    else:
        write = write_matrices if layout == "matrix" else write_by_accession
    with replacing(out) as partial:
        write(embeddings, partial)


def stored_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest that an output holds; None for a file that is not one."""
    try:
        if path.suffix == ".parquet":
            text = row_metadata(path)["manifest"]
        elif path.suffix == ".npz":
            with np.load(path) as arrays:
                text = str(arrays["manifest"])
        elif path.suffix == ".safetensors":
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(min(length, path.stat().st_size)))
            text = header["__metadata__"]["manifest"]
        else:
            text = manifest_text(path)
        manifest = json.loads(text)
        return manifest if isinstance(manifest, dict) else None
    # Of another program's file the readers raise whatever they stumble on.
    except (OSError, ValueError, LookupError, TypeError, OverflowError, zipfile.BadZipFile):
        return None


def _numbers(embeddings: Embeddings) -> dict[str, tuple[str, tuple[int, ...], Iterable[Any]]]:
    """By name: dtype, shape, and the pieces of each array but the accessions."""
    count = embeddings.proteins
    arrays: dict[str, tuple[str, tuple[int, ...], Iterable[Any]]] = {
        "length": ("int64", (count,), (part.lengths for part in embeddings.heads()))
    }
    if embeddings.per_residue:
        arrays["offset"] = ("int64", (count + 1,), embeddings.offsets())
    for name in embeddings.names:
        shape = (embeddings.rows, embeddings.width)
        arrays[name] = (embeddings.dtype, shape, embeddings.vectors(name))
    return arrays


def _write_npz(embeddings: Embeddings, path: Path) -> None:
    """NumPy's archive of arrays, for `numpy.load`."""
    text = f"<U{max(1, embeddings.widest_name)}"
    manifest = np.array(json.dumps(embeddings.manifest))
    arrays = {
        "accession": (text, (embeddings.proteins,), (p.accessions for p in embeddings.heads())),
        **_numbers(embeddings),
        "manifest": (manifest.dtype.str, (), [manifest]),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, (kind, shape, pieces) in arrays.items():
            header = {"descr": np.dtype(kind).str, "fortran_order": False, "shape": shape}
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array_header_2_0(file, header)
                for piece in pieces:
                    file.write(np.asarray(piece, kind).tobytes())


def _write_safetensors(embeddings: Embeddings, path: Path) -> None:
    """Tensors behind a header, as github.com/huggingface/safetensors describes under "Format".

    It has no text: `accession` is the bytes of all names (UTF-8), and name i stands in
    `accession_offset[i]:accession_offset[i + 1]` of them. The format's own library would hold all
    vectors in memory.
    """
    names = ("".join(part.accessions).encode() for part in embeddings.heads())
    arrays = {
        **_numbers(embeddings),
        "accession_offset": ("int64", (embeddings.proteins + 1,), embeddings.name_offsets()),
        "accession": (
            "uint8",
            (embeddings.name_bytes,),
            (np.frombuffer(each, np.uint8) for each in names),
        ),
    }
    header: dict[str, Any] = {"__metadata__": {"manifest": json.dumps(embeddings.manifest)}}
    begin = 0
    # The format asks for tensors in order of alignment.
    ordered = sorted(arrays.items(), key=lambda each: -np.dtype(each[1][0]).itemsize)
    for name, (kind, shape, _) in ordered:
        end = begin + np.dtype(kind).itemsize * int(np.prod(shape))
        header[name] = {
            "dtype": _SAFETENSORS[kind],
            "shape": list(shape),
            "data_offsets": [begin, end],
        }
        begin = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, (kind, _, pieces) in ordered:
            for piece in pieces:
                file.write(np.asarray(piece, kind).tobytes())


def _write_parquet(embeddings: Embeddings, out: Path) -> None:
    """A table: a row a protein, or a row a residue with its `position`, from 1."""
    manifest = {"manifest": json.dumps(embeddings.manifest)}
    with writing_rows(out, overwrite=True, metadata=manifest) as rows:
        for part in embeddings.parts():
            columns: dict[str, Column] = {"accession": part.accessions, "length": part.lengths}
            if embeddings.per_residue:
                accessions = np.array(part.accessions, object)
                positions = [np.arange(1, length + 1) for length in part.lengths]
                columns = {
                    "accession": accessions.repeat(part.lengths).tolist(),
                    "position": np.concatenate([np.zeros(0, np.int64), *positions]),
                }
            rows.append({**columns, **{name: part.vectors[name] for name in embeddings.names}})
