"""How sources become tokens in splits: the contract between `prepare` and a kind of source.

Proteins are one (`prepare.ProteinPreprocessing`), folders of plain text another
(`books.BookPreprocessing`).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from protein_performer.addresses import is_address, public_address
from protein_performer.alphabet import Alphabet
from protein_performer.data.preparing.tokenizer import BlockTokenizer
from protein_performer.data.reading.reader import Place, PlacedBlock
from protein_performer.data.reading.record import ReadCounts
from protein_performer.data.reading.sources import size


class Preprocessing(Protocol):
    """A kind of source; frozen, plain and picklable."""

    @property
    def alphabet(self) -> Alphabet:
        """Of the tokens."""
        ...

    @property
    def shard_proteins(self) -> int:
        """Records of a shard."""
        ...

    @property
    def head(self) -> int | None:
        """Only so many records, the first of the sources; None for all."""
        ...

    @property
    def holds_out(self) -> bool:
        """Whether there is an OOD split."""
        ...

    @property
    def tables(self) -> list[str]:
        """Files beside the sources that decide on the splits."""
        ...

    @property
    def advice(self) -> str:
        """What to do about an empty split."""
        ...

    def definition(self) -> dict[str, Any]:
        """All that decides on the result, but for the files, in plain types."""
        ...

    def expand(self, sources: Sequence[str]) -> list[str]:
        """The names of the files to read, in order; UserError for one that is missing."""
        ...

    def label(self, name: str) -> str:
        """What of a file's name decides on the result."""
        ...

    def home(self, names: Sequence[str]) -> Path:
        """What the prepared folder is called after, and lies beside."""
        ...

    def read_from(
        self, names: Sequence[str], start: Place, counts: ReadCounts
    ) -> Iterator[PlacedBlock]:
        """Blocks of whole records from a place on."""
        ...

    def tokenizer(self) -> BlockTokenizer:
        """Of the blocks."""
        ...

    def check_sizes(self, sizes: Sequence[int]) -> None:
        """Raise UserError if the number of records of each split is not what was meant."""
        ...


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
    except FileNotFoundError:  # told by whoever reads it, with what it was expected to hold
        return {"name": label}
    return {"name": label, "bytes": status.st_size, "modified_ns": status.st_mtime_ns}
