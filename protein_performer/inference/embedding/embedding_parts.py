"""Embeddings that are done, kept in parts until all are: what a killed run goes on from.

A part is one chunk of proteins in a file of its own, so that ranks share the work without talking,
and a run that is killed loses a chunk.

Shapes: N proteins, T rows of all of them, E model width.
"""

import json
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protein_performer.errors import UserError
from protein_performer.files import replacing
from protein_performer.inference.encoded_proteins import Protein

_PLAN = "plan.json"


class Part(NamedTuple):
    """The embeddings of some proteins.

    Attributes:
        accessions: N.
        lengths: (N,) int64, residues that were embedded.
        vectors: by name, (N, E) or, one row a residue, (T, E).
        failed: proteins that have no embedding, with `accession`, `residues` and `reason`; they
            are not among the others.
    """

    accessions: list[str]
    lengths: NDArray[np.int64]
    vectors: dict[str, NDArray[Any]]
    failed: list[dict[str, Any]]


@dataclass(frozen=True)
class Embeddings:
    """All parts of an output, to be read piece by piece.

    Attributes:
        folder: of the parts.
        number_of_parts: all of them are there.
        proteins, rows: N and T; T = N unless there is a row a residue.
        name_bytes, widest_name: of the accessions in UTF-8, together and of the longest.
        per_residue: whether there is a row a residue.
        width: E.
        names: of the vectors, one of each layer.
        dtype: of the vectors.
        manifest: what they are, in plain types.
    """

    folder: "PartsFolder"
    number_of_parts: int
    proteins: int
    rows: int
    name_bytes: int
    widest_name: int
    per_residue: bool
    width: int
    names: list[str]
    dtype: str
    manifest: dict[str, Any]

    def parts(self) -> Iterator[Part]:
        """The parts in order."""
        return self.folder.read(self.number_of_parts, self.names)

    def heads(self) -> Iterator[Part]:
        """The parts in order, without their vectors."""
        return self.folder.read(self.number_of_parts)

    def vectors(self, name: str) -> Iterator[NDArray[Any]]:
        """(T, E), in pieces."""
        parts = self.folder.read(self.number_of_parts, [name])
        return (part.vectors[name] for part in parts)

    def offsets(self) -> Iterator[NDArray[np.int64]]:
        """(N + 1,), in pieces: where the rows of each protein begin, and where all end."""
        return _ends(part.lengths for part in self.heads())

    def name_offsets(self) -> Iterator[NDArray[np.int64]]:
        """(N + 1,), in pieces: where each accession begins among the bytes of all."""
        return _ends([len(name.encode()) for name in part.accessions] for part in self.heads())


def _ends(lengths: Iterable[Any]) -> Iterator[NDArray[np.int64]]:
    """Running sums of lengths that come in pieces, from 0 on."""
    end = 0
    yield np.zeros(1, np.int64)
    for piece in lengths:
        ends = end + np.cumsum(piece, dtype=np.int64)
        yield ends
        end = int(ends[-1]) if len(ends) else end


class PartsFolder:
    """The parts of one output, in a folder beside it.

    Args:
        out: the file that the parts are for.
        plan: plain types that say what is computed: a run goes on from parts of the same plan only.

    Raises: UserError for parts of another plan, and for a folder that something else made.
    """

    def __init__(self, out: Path, plan: Mapping[str, Any]) -> None:
        self.plan = plan
        self.path = _folder(out)
        _check_ours(self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        stated = self.path / _PLAN
        text = json.dumps(plan, sort_keys=True)
        if not stated.exists():
            with replacing(stated) as partial:
                partial.write_text(text)
        elif stated.read_text() != text:
            earlier = json.loads(stated.read_text())
            changed = [key for key in plan if earlier.get(key) != plan[key]]
            raise UserError(
                f"{self.path}: begun with other {', '.join(changed)}. Give the same as then to go"
                " on, or --overwrite to begin anew; of several processes none knows what the others"
                " have begun: remove it before they start."
            )

    def has(self, number: int, proteins: list[Protein]) -> bool:
        """Whether this part is done. Raises UserError if it was of other proteins."""
        path = self._file(number)
        if not path.exists():
            return False
        with np.load(path) as stored:
            if str(stored["digest"]) == _digest(proteins):
                return True
        raise UserError(
            f"{self.path}: its part {number} is of other proteins: the sources have changed since"
            " it was begun. --overwrite begins anew."
        )

    def write(self, number: int, proteins: list[Protein], part: Part) -> None:
        """Keep a part, of these proteins."""
        names = [name.encode() for name in part.accessions]
        arrays: dict[str, Any] = {f"vectors.{name}": x for name, x in part.vectors.items()}
        with replacing(self._file(number)) as partial, partial.open("wb") as file:
            np.savez(
                file,
                digest=_digest(proteins),
                names=np.frombuffer(b"".join(names), np.uint8),
                name_lengths=np.array([len(name) for name in names], np.int64),
                lengths=part.lengths,
                failed=json.dumps(part.failed),
                **arrays,
            )

    def count(self) -> int:
        """How many parts there are."""
        return sum(1 for _ in self.path.glob("[0-9]*.npz"))

    def read(self, number_of_parts: int, names: Sequence[str] = ()) -> Iterator[Part]:
        """The parts in order, with the vectors of these names."""
        for number in range(number_of_parts):
            with np.load(self._file(number)) as stored:
                yield Part(
                    _split(stored["names"].tobytes(), stored["name_lengths"]),
                    stored["lengths"],
                    {name: stored[f"vectors.{name}"] for name in names},
                    json.loads(str(stored["failed"])),
                )

    def remove(self) -> None:
        """Remove the folder: the output holds it all. For other processes it is gone at once."""
        gone = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}")
        self.path.rename(gone)
        shutil.rmtree(gone)

    def _file(self, number: int) -> Path:
        return self.path / f"{number:08d}.npz"


def remove_parts(out: Path) -> None:
    """Remove what an earlier run had begun for this output, if there is any."""
    _check_ours(_folder(out))
    if _folder(out).is_dir():
        shutil.rmtree(_folder(out))


def _check_ours(path: Path) -> None:
    """Raise UserError for what something else made: a folder of parts is removed with all in it."""
    # A plan that another process is writing is hidden until it is complete.
    others = not path.is_dir() or any(path.glob("[!.]*"))
    if path.exists() and others and not (path / _PLAN).exists():
        raise UserError(f"{path}: not a folder of parts. Move it, or choose another name for OUT.")


def _folder(out: Path) -> Path:
    return out.with_name(f"{out.name}.parts")


def _split(joined: bytes, lengths: NDArray[np.int64]) -> list[str]:
    ends = np.cumsum(lengths).tolist()
    begins = [0, *ends][:-1]
    return [joined[begin:end].decode() for begin, end in zip(begins, ends, strict=True)]


def _digest(proteins: list[Protein]) -> str:
    digest = blake2b(digest_size=16)
    for protein in proteins:
        digest.update(content_of(protein))
    return digest.hexdigest()


def content_of(protein: Protein) -> bytes:
    """Name and residues, so that what follows changes neither."""
    name = protein.accession.encode()
    return b"%d %d %b%b" % (len(name), len(protein.codes), name, protein.codes.tobytes())
