"""How sources become tokens in splits: what `pipeline.prepare` asks of a kind of source.

Proteins are one kind, folders of plain text another (`books.BookPreprocessing`).
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from protein_performer.addresses import is_address, public_address
from protein_performer.alphabet import Alphabet, ResiduePolicy
from protein_performer.data.manifest import FORMAT
from protein_performer.data.preparing.tokenizer import BlockTokenizer, Tokenizer
from protein_performer.data.reading.reader import Place, PlacedBlock, read_from
from protein_performer.data.reading.record import ReadCounts
from protein_performer.data.reading.sources import expand, size
from protein_performer.data.splits import SplitRule
from protein_performer.errors import UserError

SHARD_PROTEINS = 2**18


class Preprocessing(ABC):
    """A kind of source and its settings; frozen, plain and picklable.

    Attributes:
        alphabet: of the tokens.
        residue_policy: for characters outside it.
        shard_proteins: records of a shard.
        splits: which record belongs where; None where the source says so.
        head: only so many records, the first of the sources; None for all.
    """

    alphabet: Alphabet
    residue_policy: ResiduePolicy
    shard_proteins: int
    splits: SplitRule | None = None
    head: int | None = None

    def __post_init__(self) -> None:
        if self.residue_policy not in get_args(ResiduePolicy):
            raise UserError(
                f"data.residue_policy: expected one of {get_args(ResiduePolicy)}, got"
                f" {self.residue_policy!r}"
            )

    @property
    def holds_out(self) -> bool:
        """Whether there is an OOD split."""
        return self.splits is not None and self.splits.holds_out

    @property
    def tables(self) -> list[str]:
        """Files beside the sources that decide on the splits."""
        return [] if self.splits is None or self.splits.clusters is None else [self.splits.clusters]

    @property
    def advice(self) -> str:
        """What to do about an empty split."""
        if self.splits is not None:
            return f"Give more records, or raise its share in data.splits ({self.splits})."
        return "Give more records: empty ones and copies of another one do not count."

    @abstractmethod
    def definition(self) -> dict[str, Any]:
        """All that decides on the result, but for the files, in plain types."""

    @abstractmethod
    def expand(self, sources: Sequence[str]) -> list[str]:
        """The names of the files to read, in order; UserError for one that is missing."""

    @abstractmethod
    def label(self, name: str) -> str:
        """What of a file's name decides on the result."""

    @abstractmethod
    def home(self, names: Sequence[str]) -> Path:
        """What the prepared folder is called after, and lies beside."""

    @abstractmethod
    def read_from(
        self, names: Sequence[str], start: Place, counts: ReadCounts
    ) -> Iterator[PlacedBlock]:
        """Blocks of whole records from a place on."""

    @abstractmethod
    def tokenizer(self) -> BlockTokenizer:
        """Of the blocks, with all that it needs: no process reads a table again."""

    @abstractmethod
    def check_sizes(self, sizes: Sequence[int]) -> None:
        """Raise UserError if the number of records of each split is not what was meant."""


@dataclass(frozen=True)
class ProteinPreprocessing(Preprocessing):
    """FASTA and flat files of proteins; see `Preprocessing`.

    Attributes:
        splits: which protein belongs where.
    """

    alphabet: Alphabet
    residue_policy: ResiduePolicy
    splits: SplitRule
    shard_proteins: int = SHARD_PROTEINS
    head: int | None = None

    def definition(self) -> dict[str, Any]:
        """As JSON gives it back."""
        definition: dict[str, Any] = json.loads(json.dumps({"format": FORMAT, **asdict(self)}))
        if self.head is None:  # folders of whole sources say nothing of it
            del definition["head"]
        return definition

    @classmethod
    def from_definition(cls, definition: dict[str, Any]) -> "ProteinPreprocessing":
        """What `definition` gave, as a manifest has it."""
        return cls(
            Alphabet(**definition["alphabet"]),
            definition["residue_policy"],
            SplitRule(**definition["splits"]),
            definition["shard_proteins"],
            definition.get("head"),
        )

    def expand(self, sources: Sequence[str]) -> list[str]:
        """See `sources.expand`."""
        return expand(sources)

    def label(self, name: str) -> str:
        """A file's name, without its folder."""
        return Path(name).name

    def home(self, names: Sequence[str]) -> Path:
        """The first source."""
        return Path(names[0])

    def read_from(
        self, names: Sequence[str], start: Place, counts: ReadCounts
    ) -> Iterator[PlacedBlock]:
        """See `reader.read_from`."""
        return read_from(names, start, counts)

    def tokenizer(self) -> Tokenizer:
        """Of FASTA and flat files."""
        self.splits.load()
        return Tokenizer(self.alphabet, self.residue_policy, self.splits)

    def check_sizes(self, sizes: Sequence[int]) -> None:
        """Raise UserError if there is no protein, or none to hold out though that was wanted."""
        if not any(sizes):
            raise UserError("expected at least one protein to prepare, the sources have none")
        part = ""
        if self.head is not None:
            part = f" Only the first {self.head:,} records were looked at: perhaps raise data.head."
        self.splits.check_sizes(sizes, part)


def fingerprints(sources: Sequence[str], how: Preprocessing) -> dict[str, Any]:
    """What a preparation is made from, in plain types: equal ones give equal folders.

    A file, be it a source or a table of clusters, is known by its name, size and time of change,
    as for `make`: whoever replaces or touches one gets it prepared anew. An address is known by
    itself and the size that its server tells.
    """
    return {
        "definition": how.definition(),
        "sources": [_fingerprint(name, how.label(name)) for name in how.expand(sources)],
        "tables": [_fingerprint(name, Path(name).name) for name in how.tables],
    }


def _fingerprint(name: str, label: str) -> dict[str, Any]:
    if is_address(name):
        return {"name": public_address(name), "bytes": size(name)}
    try:
        status = Path(name).stat()
    except FileNotFoundError:  # whoever reads it says what it was expected to hold
        return {"name": label}
    return {"name": label, "bytes": status.st_size, "modified_ns": status.st_mtime_ns}
