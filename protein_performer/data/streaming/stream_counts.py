"""What was read of a stream so far: for the log, and to go on counting after a resume."""

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protein_performer.alphabet import ResidueCounts
from protein_performer.data.preparing.tokenizer import Tokenized
from protein_performer.data.reading.record import ReadCounts
from protein_performer.data.splits import SPLITS, TRAIN


@dataclass
class StreamCounts:
    """Sums over the records from the first on.

    Attributes:
        read: what the parser counted, without files and bytes.
        characters: what the alphabet counted.
        emptied: records that the residue policy `skip` left without a residue.
        proteins: how many belong to each of `SPLITS`.
        copies: training proteins left out, since a held-out one is equal to them.
        cut_proteins: training proteins longer than an epoch shows.
        cut_residues: of these, residues that it does not show.
    """

    read: ReadCounts = field(default_factory=ReadCounts)
    characters: ResidueCounts = field(default_factory=ResidueCounts)
    emptied: int = 0
    proteins: list[int] = field(default_factory=lambda: [0] * len(SPLITS))
    copies: int = 0
    cut_proteins: int = 0
    cut_residues: int = 0

    def plus(
        self, tokenized: Tokenized, kept: NDArray[np.int64], cuts_to: int | None
    ) -> "StreamCounts":
        """The sums with one more bundle.

        Args:
            tokenized: the bundle.
            kept: lengths of its training proteins, copies of held-out ones left out.
            cuts_to: residues of a protein that an epoch shows; None for all.
        """
        total = copy.deepcopy(self)
        beyond = np.maximum(kept - (kept.max(initial=0) if cuts_to is None else cuts_to), 0)
        proteins = [len(part.lengths) for part in tokenized.parts]
        copies, proteins[TRAIN] = proteins[TRAIN] - len(kept), len(kept)
        here = StreamCounts(
            read=tokenized.read,
            emptied=tokenized.emptied,
            proteins=proteins,
            copies=copies,
            cut_proteins=int(np.count_nonzero(beyond)),
            cut_residues=int(beyond.sum()),
        )
        for part in tokenized.parts:
            here.characters.add(part.characters)
        total.add(here)
        return total

    def add(self, other: "StreamCounts") -> None:
        """Add another count to this one, in place."""
        self.read.add(other.read)
        self.characters.add(other.characters)
        self.proteins = [sum(pair) for pair in zip(self.proteins, other.proteins, strict=True)]
        for name in ("emptied", "copies", "cut_proteins", "cut_residues"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def plain(self) -> dict[str, Any]:
        """Plain types, for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "StreamCounts":
        """The inverse of `plain`."""
        read, characters = ReadCounts(**plain["read"]), ResidueCounts(**plain["characters"])
        return cls(**{**plain, "read": read, "characters": characters})

    def __str__(self) -> str:
        shares = zip(SPLITS, self.proteins, strict=True)
        characters = asdict(self.characters)
        del characters["residues"]
        odd = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in characters.items())
        return "\n".join(
            [
                f"{self.read.records:,} records, {self.read.residues:,} letters: {odd};"
                f" {self.emptied:,} records without a residue left out",
                *(f"warning: {warning}" for warning in self.read.warnings()),
                "proteins: " + ", ".join(f"{name} {number:,}" for name, number in shares),
                f"of train {self.cut_proteins:,} cut, by {self.cut_residues:,} residues;"
                f" {self.copies:,} left out as exact copies of held-out proteins",
            ]
        )
