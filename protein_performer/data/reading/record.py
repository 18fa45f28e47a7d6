"""One protein as read from a file, and the counts of what was read."""

from dataclasses import dataclass, field, fields
from typing import NamedTuple


class Record(NamedTuple):
    """One protein, as its source states it: not yet checked against an alphabet.

    Attributes:
        accession: `ID` out of a first word `db|ID|name`, or else the whole first word of the
            header. Any characters but white space (also `/`), any length, not always unique:
            never use it as a path.
        description: the rest of the header, organism and gene fields included; may be "".
        sequence: the residues as they stand in the file (also lower case, `*`, `-`), without
            white space; never "".
        families: Pfam accessions (`PF00069`) that a flat file states; () from FASTA.
    """

    accession: str
    description: str
    sequence: str
    families: tuple[str, ...] = ()


@dataclass
class ReadCounts:
    """What was read, summed over the files it was passed to. The caller reports it.

    The fields below `bytes_read` count oddities; each is a line of `warnings()` when it is not 0.
    """

    files: int = 0  # opened
    records: int = 0  # handed on
    residues: int = 0  # letters of these
    bytes_read: int = 0  # of the sources as they are stored (compressed)
    empty: int = 0  # headers without a sequence, left out
    spaced: int = 0  # records with white space inside sequence lines, which was removed
    blank: int = 0  # files of text without a byte, left out
    non_ascii: int = 0  # records whose header is not ASCII, read as UTF-8 or else as Latin-1
    examples: dict[str, str] = field(default_factory=dict)  # oddity -> place of its first record

    def note(self, oddity: str, place: str) -> None:
        """Count one record under `oddity` (a field's name) and keep the first one's place."""
        setattr(self, oddity, getattr(self, oddity) + 1)
        self.examples.setdefault(oddity, place)

    def add(self, other: "ReadCounts") -> None:
        """Add another count to this one, in place."""
        for each in fields(self):
            if each.name != "examples":
                total = getattr(self, each.name) + getattr(other, each.name)
                setattr(self, each.name, total)
        self.examples = {**other.examples, **self.examples}

    def warnings(self) -> list[str]:
        """One sentence for each oddity, with its count and its first place."""
        meaning = {
            "empty": "a header without a sequence, left out",
            "blank": "no text in it, left out",
            "spaced": "white space inside the sequence, removed",
            "non_ascii": "a header that is not ASCII, read as UTF-8 or else as Latin-1",
        }
        return [
            f"{getattr(self, name):,} record(s) with {what}; the first at"
            f" {self.examples.get(name, 'an unknown place')}"
            for name, what in meaning.items()
            if getattr(self, name)
        ]
