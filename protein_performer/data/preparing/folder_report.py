"""What lies in a prepared folder and what became of the records: figures, and their tables."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protein_performer.alphabet import Alphabet
from protein_performer.byte_alphabet import alphabet_from
from protein_performer.data.preparing.lengths import PAPER, Lengths, describe_lengths
from protein_performer.data.reading.record import ReadCounts

_MOST_SHOWN = 30  # letters whose shares are told
LONG = 1024  # residues that a row shows in the paper's main task and by default in ours

LengthCounts = Mapping[str, NDArray[np.int64]]  # split -> (longest + 1,) proteins of each length


@dataclass(frozen=True)
class SplitContents:
    """One split, or all together.

    Proteins, residues and shares are of what takes part, without copies; characters are counted in
    all records of the split. Nothing is cut in a prepared folder; training may cut.
    """

    lengths: Lengths | None  # None where no protein takes part
    residues: int
    long: int  # proteins of more than `LONG` residues
    duplicates: int  # exact copies, left out ...
    copies_across_splits: int  # ... of which so many of a protein that another split keeps
    lower_case: int  # characters, read as upper case
    rare: int  # of the alphabet's rare letters
    unknown: int  # outside the alphabet, replaced by its unknown letter
    skipped: int  # outside the alphabet, left out
    residue_shares: dict[str, float]  # letter -> share


@dataclass(frozen=True)
class FolderReport:
    """A prepared folder. `str()` tells it in three tables, `plain()` is for JSON."""

    read: dict[str, Any]  # ReadCounts: records without a sequence were left out
    emptied: int  # records that the residue policy `skip` left without a residue, left out
    repeated_accessions: int
    leaks: int  # equal sequences in two splits
    warnings: list[str]
    splits: dict[str, SplitContents]
    all: SplitContents
    unit: str = "residue"  # `byte` where the records are books

    def plain(self) -> dict[str, Any]:
        """Plain types."""
        return asdict(self)

    def __str__(self) -> str:
        return "\n\n".join(self.paragraphs())

    def paragraphs(self, *, with_paper: bool = False) -> list[str]:
        """The text, perhaps with the paper's Table 1 below our lengths."""
        rows = {**{name: s for name, s in self.splits.items() if s.lengths}, "all": self.all}
        lengths = {name: _length_cells(split) for name, split in rows.items()}
        if with_paper:
            lengths |= {f"paper, {name}": _figures(paper, "", "") for name, paper in PAPER.items()}
        every = {**self.splits, "all": self.all}
        told = [
            self._read(),
            table("lengths", _LENGTHS, lengths),
            table("records", _RECORDS, {name: _record_cells(s) for name, s in every.items()}),
            _residues(rows),
        ]
        if with_paper:
            told.append(
                "The paper's: Choromanski et al. 2021, arXiv:2009.14794, appendix C.1, Table 1"
                " (TrEMBL of January 2019)."
            )
        return [in_units(each, self.unit) for each in told]

    def _read(self) -> str:
        return "\n".join(
            [
                f"{self.read['records']:,} records read, {self.read['residues']:,} letters;"
                f" {self.read['empty']:,} without a sequence and {self.emptied:,} without a residue"
                f" left out; {self.repeated_accessions:,} repeated accessions; equal sequences in"
                f" two splits: {self.leaks:,}",
                *(f"warning: {warning}" for warning in self.warnings),
            ]
        )


def _residues(rows: Mapping[str, SplitContents]) -> str:
    """Percentages; letters that hardly occur anywhere in a line of their own."""
    shares = {
        name: {letter: f"{100 * share:.2f}" for letter, share in split.residue_shares.items()}
        for name, split in rows.items()
    }
    letters = list(shares["all"])
    seen = [each for each in letters if any(row[each] != "0.00" for row in shares.values())]
    if len(seen) > _MOST_SHOWN:
        frequent = sorted(seen, key=lambda each: -rows["all"].residue_shares[each])[:_MOST_SHOWN]
        cells = {name: [row[letter] for letter in frequent] for name, row in shares.items()}
        return table(f"the {_MOST_SHOWN} most frequent residues, %", frequent, cells, gap=" ")
    cells = {name: [row[letter] for letter in seen] for name, row in shares.items()}
    rest = " ".join(letter for letter in letters if letter not in seen)
    told = table("residues, %", seen, cells, gap=" ")
    return f"{told}\nbelow 0.005 %: {rest}" if rest else told


_LENGTHS = ["proteins", "min", "max", "mean", "std", "median", "residues", f"over {LONG:,}"]
_RECORDS = [
    *("stored", "duplicates", "across splits"),
    *("lower case", "rare", "unknown", "skipped"),
]


def _length_cells(split: SplitContents) -> list[str]:
    assert split.lengths is not None
    return _figures(split.lengths, f"{split.residues:,}", f"{split.long:,}")


def _figures(lengths: Lengths, residues: str, long: str) -> list[str]:
    return [
        *(f"{each:,}" for each in (lengths.proteins, lengths.min, lengths.max)),
        *(f"{each:,.2f}" for each in (lengths.mean, lengths.std)),
        *(f"{lengths.median:,g}", residues, long),
    ]


def _record_cells(split: SplitContents) -> list[str]:
    proteins = split.lengths.proteins if split.lengths else 0
    figures = [
        *(proteins + split.duplicates, split.duplicates, split.copies_across_splits),
        *(split.lower_case, split.rare, split.unknown, split.skipped),
    ]
    return [f"{figure:,}" for figure in figures]


def in_units(text: str, unit: str) -> str:
    """A report's words, which are of proteins, for records whose letters are bytes."""
    if unit != "byte":
        return text
    return text.replace("proteins", "books").replace("residue", "byte")


def table(
    corner: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]], gap: str = "  "
) -> str:
    """Lines of aligned cells, the names of the rows on the left."""
    lines = [[corner, *columns], *([name, *cells] for name, cells in rows.items())]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        gap.join([first.ljust(widths[0]), *map(str.rjust, cells, widths[1:])]).rstrip()
        for first, *cells in lines
    )


def describe_folder(manifest: Mapping[str, Any], counts: LengthCounts) -> FolderReport:
    """Add up what a prepared folder holds.

    Args:
        manifest: of the folder.
        counts: of every split of it.
    """
    alphabet = alphabet_from(manifest["definition"]["alphabet"])
    letters = alphabet.letter_names
    entries = manifest["splits"]
    longest = max(map(len, counts.values()))
    together = np.sum([np.pad(each, (0, longest - len(each))) for each in counts.values()], axis=0)
    return FolderReport(
        read=manifest["read"],
        emptied=manifest["emptied"],
        repeated_accessions=manifest["repeated_accessions"],
        leaks=manifest["leaks"],
        warnings=ReadCounts(**manifest["read"]).warnings(),
        splits={
            name: _describe_split([entry], counts[name], letters) for name, entry in entries.items()
        },
        all=_describe_split(list(entries.values()), together, letters),
        unit=alphabet.unit,
    )


def _describe_split(
    entries: Sequence[Mapping[str, Any]], counts: NDArray[np.int64], letters: Sequence[str]
) -> SplitContents:
    by_token = np.sum([entry["residue_counts"] for entry in entries], axis=0)
    by_letter = by_token[Alphabet.first_letter :]
    met = {
        kind: sum(entry["characters"][kind] for entry in entries)
        for kind in ("lower_case", "rare", "unknown", "skipped")
    }
    return SplitContents(
        lengths=describe_lengths(counts),
        residues=sum(entry["residues"] for entry in entries),
        long=int(counts[LONG + 1 :].sum()),
        duplicates=sum(entry["duplicates"] for entry in entries),
        copies_across_splits=sum(entry["copies_across_splits"] for entry in entries),
        **met,
        residue_shares=dict(
            zip(letters, (by_letter / max(1, int(by_letter.sum()))).tolist(), strict=True)
        ),
    )


def tell_records(read: Mapping[str, Any], encoded: Mapping[str, int], emptied: int) -> str:
    """One line on what was read; see `FolderReport`."""
    odd = {name: count for name, count in encoded.items() if name != "residues"}
    told = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in odd.items())
    return (
        f"{read['records']:,} records, {read['residues']:,} letters: {told};"
        f" {emptied:,} records without a residue left out"
    )
