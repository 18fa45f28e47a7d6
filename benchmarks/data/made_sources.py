"""FASTA.gz files of any size: the same real proteins again and again, each time mutated.

Lengths, composition and headers stay those of the real proteins, no two sequences are alike, and a
gigabyte takes seconds, since a whole text is changed in a few operations.
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from protein_performer.alphabet import Alphabet
from protein_performer.data.reading.compression import inflater
from protein_performer.data.reading.reader import read_records
from protein_performer.data.reading.record import ReadCounts, Record
from protein_performer.data.reading.sources import expand

_DIGITS = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", dtype=np.uint8)
_NUMBER = 7  # digits of a record's number, in its accession
_BEFORE_NUMBER = ">tr|A0A"  # as UniProt's accessions of ten characters begin
_REPEATED = 20_000_000  # characters of text, about, that are repeated
_MUTATED = 0.1  # share of the residues that are drawn anew in each repetition
_LINE = 60  # residues, as in UniProt's files


class Made(NamedTuple):
    """A file that was made."""

    path: Path
    text_bytes: int
    records: int


class _Text(NamedTuple):
    """The text that is repeated.

    Attributes:
        letters: (T,) uint8, records in FASTA with room for a number in each accession.
        begins: (N + 1,) where each record begins, and the end of all.
        residues: (R,) the places of all standard residues.
    """

    letters: NDArray[np.uint8]
    begins: NDArray[np.int64]
    residues: NDArray[np.int64]


def make_source(sources: Sequence[str], folder: Path, megabytes: float, *, seed: int = 0) -> Made:
    """Write about so many megabytes (10^6 bytes) of FASTA, compressed; or find it there.

    Args:
        sources: the real proteins, see `sources.expand`; the first 20 MB of them are used.
        folder: of the file, whose name tells what it was made from.
        megabytes: of text, before compression.
        seed: of the mutations.
    """
    names = expand(sources)
    identity = json.dumps([[(name, Path(name).stat().st_size) for name in names], seed])
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    path = folder / f"made-{digest}-{megabytes:g}MB.fasta.gz"
    told = path.with_suffix(".json")  # written last: it is there if the file is whole
    if not told.is_file():
        text = _repeated_text(read_records(names, counts=ReadCounts()))
        with _compressed(path) as file:
            size = _write(text, file, int(megabytes * 1e6), np.random.default_rng(seed))
        told.write_text(json.dumps(size))
    return Made(path, *json.loads(told.read_text()))


def _compressed(path: Path) -> IO[bytes]:
    """Fast rather than small: anything else would take longer than all the rest."""
    if inflater() is zlib:
        return cast(IO[bytes], gzip.open(path, "wb", compresslevel=1))
    from isal import igzip

    return cast(IO[bytes], igzip.open(path, "wb", compresslevel=1))  # type: ignore[no-untyped-call]


def _repeated_text(records: Iterable[Record]) -> _Text:
    headers, bodies, size = [], [], 0
    for record in records:
        headers.append(
            f"{_BEFORE_NUMBER}{'0' * _NUMBER}|{record.accession} {record.description}\n".encode(
                "ascii", "replace"
            )
        )
        lines = (record.sequence[i : i + _LINE] for i in range(0, len(record.sequence), _LINE))
        bodies.append("\n".join([*lines, ""]).encode("ascii", "replace"))
        size += len(headers[-1]) + len(bodies[-1])
        if size >= _REPEATED:
            break
    sizes = np.array([list(map(len, headers)), list(map(len, bodies))]).T
    text = b"".join(part for pair in zip(headers, bodies, strict=True) for part in pair)
    letters = np.frombuffer(text, dtype=np.uint8)
    in_body = np.repeat(np.tile([False, True], len(headers)), sizes.ravel())
    standard = np.frombuffer(Alphabet().standard.encode(), dtype=np.uint8)
    return _Text(
        letters,
        np.concatenate([[0], np.cumsum(sizes.sum(axis=1))]),
        np.flatnonzero(in_body & np.isin(letters, standard)),
    )


def _write(text: _Text, file: IO[bytes], size: int, lots: np.random.Generator) -> tuple[int, int]:
    """Write repetitions, the last one in part; bytes and records written."""
    written = records = 0
    while written < size:
        letters = text.letters.copy()
        _mutate(letters, text.residues, lots)
        _number(letters, text.begins[:-1], records)
        here = int(np.searchsorted(text.begins[1:], size - written)) + 1
        here = min(here, len(text.begins) - 1)
        file.write(letters[: text.begins[here]].data)
        written += int(text.begins[here])
        records += here
    return written, records


def _mutate(
    letters: NDArray[np.uint8], residues: NDArray[np.int64], lots: np.random.Generator
) -> None:
    standard = np.frombuffer(Alphabet().standard.encode(), dtype=np.uint8)
    changed = lots.integers(len(residues), size=int(_MUTATED * len(residues)) + 1)
    letters[residues[changed]] = standard[lots.integers(len(standard), size=len(changed))]


def _number(letters: NDArray[np.uint8], begins: NDArray[np.int64], first: int) -> None:
    """Give consecutive records consecutive numbers."""
    numbers = first + np.arange(len(begins))
    powers = len(_DIGITS) ** np.arange(_NUMBER - 1, -1, -1)
    digits = _DIGITS[numbers[:, None] // powers % len(_DIGITS)]
    places = begins[:, None] + len(_BEFORE_NUMBER) + np.arange(_NUMBER)
    letters[places] = digits
