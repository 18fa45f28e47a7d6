"""What reading met so far, and what became of it: for the log, and to go on counting later."""

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protein_performer.alphabet import ResidueCounts
from protein_performer.data.preparing.folder_report import tell_records
from protein_performer.data.preparing.tokenizer import Tokenized
from protein_performer.data.reading.record import ReadCounts
from protein_performer.data.splits import SPLITS, TRAIN


@dataclass
class Tally:
    """Sums over the records from the first on.

    Attributes:
        read: what the parser counted, without files and bytes.
        met: what the alphabet met.
        emptied: records that the residue policy `skip` left without a residue.
        proteins: how many belong to each of `SPLITS`.
        copies: training proteins left out, since a held-out one is equal to them.
        cut_proteins: training proteins longer than an epoch shows.
        cut_residues: of these, residues that it does not show.
    """

    read: ReadCounts = field(default_factory=ReadCounts)
    met: ResidueCounts = field(default_factory=ResidueCounts)
    emptied: int = 0
    proteins: list[int] = field(default_factory=lambda: [0] * len(SPLITS))
    copies: int = 0
    cut_proteins: int = 0
    cut_residues: int = 0

    def plus(self, tokenized: Tokenized, kept: NDArray[np.int64], cuts_to: int | None) -> "Tally":
        """The sums with one more bundle.

        Args:
            tokenized: the bundle.
            kept: lengths of its training proteins, copies of held-out ones left out.
            cuts_to: residues of a protein that an epoch shows; None for all.
        """
        total = copy.deepcopy(self)
        total.read.add(tokenized.read)
        total.emptied += tokenized.emptied
        for split, part in enumerate(tokenized.parts):
            total.met.add(part.characters)
            total.proteins[split] += len(kept if split == TRAIN else part.lengths)
        total.copies += len(tokenized.parts[TRAIN].lengths) - len(kept)
        if cuts_to is not None:
            beyond = np.maximum(kept - cuts_to, 0)
            total.cut_proteins += int(np.count_nonzero(beyond))
            total.cut_residues += int(beyond.sum())
        return total

    def plain(self) -> dict[str, Any]:
        """Plain types, for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Tally":
        """What `plain` told."""
        read, met = ReadCounts(**plain["read"]), ResidueCounts(**plain["met"])
        return cls(**{**plain, "read": read, "met": met})

    def __str__(self) -> str:
        shares = zip(SPLITS, self.proteins, strict=True)
        return "\n".join(
            [
                tell_records(asdict(self.read), asdict(self.met), self.emptied),
                *(f"warning: {warning}" for warning in self.read.warnings()),
                "proteins: " + ", ".join(f"{name} {number:,}" for name, number in shares),
                f"of train {self.cut_proteins:,} cut, by {self.cut_residues:,} residues;"
                f" {self.copies:,} left out as exact copies of held-out proteins",
            ]
        )
