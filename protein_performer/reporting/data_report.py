"""What proteins are trained on, as a person reads it: lengths, copies, odd characters, batches.

Shapes: L the longest protein's residues.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

_MOST_SHOWN = 30  # letters whose shares are shown
LONG = 1024  # residues that a row shows in the paper's main task and by default in ours

LengthCounts = Mapping[str, NDArray[np.int64]]  # split -> (L + 1,) proteins of each length


@dataclass(frozen=True)
class Lengths:
    """A distribution of lengths, in residues: the figures of the Performer paper's Table 1."""

    proteins: int
    min: int
    max: int
    mean: float
    std: float  # of the proteins themselves, divided by their number
    median: float


# Choromanski et al. 2021, arXiv:2009.14794, appendix C.1, Table 1: TrEMBL of January 2019.
PAPER = {
    "train": Lengths(104_863_744, 2, 74_488, 353.09, 311.16, 289),
    "val": Lengths(102_400, 7, 11_274, 353.62, 307.42, 289),
    "test": Lengths(1_033_216, 8, 32_278, 353.96, 312.23, 289),
    "ood": Lengths(29_696, 24, 4_208, 330.96, 269.86, 200),
}
_SOURCE = (
    "The paper's: Choromanski et al. 2021, arXiv:2009.14794, appendix C.1, Table 1 (TrEMBL of"
    " January 2019)."
)


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
    """A prepared folder. `str()` gives three tables, `plain()` is for JSON."""

    read: dict[str, Any]  # ReadCounts: records without a sequence were left out
    emptied: int  # records that the residue policy `skip` left without a residue, left out
    repeated_accessions: int
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
        records = {name: _record_cells(s) for name, s in {**self.splits, "all": self.all}.items()}
        parts = [
            "\n".join([self.records_line(), *(f"warning: {each}" for each in self.warnings)]),
            table("lengths", _LENGTHS, lengths),
            table("records", _RECORDS, records),
            _residues(rows),
            *([_SOURCE] if with_paper else []),
        ]
        return [in_units(each, self.unit) for each in parts]

    def records_line(self) -> str:
        """What was read and left out, in a line."""
        return (
            f"{self.read['records']:,} records read, {self.read['residues']:,} letters; left out:"
            f" {self.read['empty']:,} without a sequence, {self.emptied:,} without a residue,"
            f" {self.all.duplicates:,} exact copies; {self.repeated_accessions:,} repeated"
            " accessions"
        )


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


def _residues(rows: Mapping[str, SplitContents]) -> str:
    """Percentages; letters that hardly occur anywhere in a line of their own."""
    shares = {
        name: {letter: f"{100 * share:.2f}" for letter, share in split.residue_shares.items()}
        for name, split in rows.items()
    }
    letters = list(shares["all"])
    seen = [each for each in letters if any(row[each] != "0.00" for row in shares.values())]
    corner, rest = "residues, %", [each for each in letters if each not in seen]
    if len(seen) > _MOST_SHOWN:
        corner, rest = f"the {_MOST_SHOWN} most frequent residues, %", []
        seen = sorted(seen, key=lambda each: -rows["all"].residue_shares[each])[:_MOST_SHOWN]
    cells = {name: [row[letter] for letter in seen] for name, row in shares.items()}
    below = f"\nbelow 0.005 %: {' '.join(rest)}" if rest else ""
    return table(corner, seen, cells, gap=1) + below


def in_units(text: str, unit: str) -> str:
    """A report's words, which are of proteins, for records whose letters are bytes."""
    if unit != "byte":
        return text
    return text.replace("proteins", "books").replace("residue", "byte")


def table(
    corner: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]], gap: int = 2
) -> str:
    """Lines of aligned cells, the names of the rows on the left."""
    made = Table(corner, box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="")
    for column in columns:
        made.add_column(column, justify="right", no_wrap=True)
    for name, cells in rows.items():
        made.add_row(name, *cells)
    console = Console(file=io.StringIO(), width=1000, markup=False)
    with console.capture() as captured:
        console.print(made)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def describe_lengths(counts: NDArray[np.int64]) -> Lengths | None:
    """The distribution of (L + 1,) numbers of proteins of each length; None if there is none."""
    proteins = int(counts.sum())
    if not proteins:
        return None
    length, present = np.arange(len(counts)), np.flatnonzero(counts)
    mean = float(counts @ length) / proteins
    # The two in the middle, which are one where the number is odd.
    middle = np.searchsorted(np.cumsum(counts), [(proteins - 1) // 2 + 1, proteins // 2 + 1])
    return Lengths(
        proteins=proteins,
        min=int(present[0]),
        max=int(present[-1]),
        mean=mean,
        std=float(np.sqrt(counts @ (length - mean) ** 2 / proteins)),
        median=float(middle.mean()),
    )


@dataclass(frozen=True)
class SplitBatches:
    """The batches of a split."""

    batches: int
    padding_share: float  # of the places in the batches of an epoch
    cut_proteins: int  # longer than max_length
    cut_residues: int  # of these, outside the window in one epoch


@dataclass(frozen=True)
class DataReport:
    """The whole story; `str()` gives it as a few tables, `plain()` is for JSON."""

    folder: FolderReport
    batches: dict[str, SplitBatches]

    def plain(self) -> dict[str, Any]:
        """Plain types."""
        return asdict(self)

    def __str__(self) -> str:
        rows = {
            name: [
                f"{each.batches:,}",
                f"{each.padding_share:.2%}",
                f"{each.cut_proteins:,}",
                f"{each.cut_residues:,}",
            ]
            for name, each in self.batches.items()
        }
        columns = ["an epoch", "padding", "cut proteins", "cut residues"]
        return f"{self.folder}\n\n{in_units(table('batches', columns, rows), self.folder.unit)}"

    def summary(self) -> str:
        """A line on the records, one for each split, and the warnings."""
        lines = [self.folder.records_line()]
        for name, each in self.batches.items():
            lengths = self.folder.splits[name].lengths
            assert lengths is not None  # no batches of nothing
            lines.append(
                f"{name}: {lengths.proteins:,} proteins in {each.batches:,} batches an epoch,"
                f" {each.padding_share:.1%} padding; {each.cut_proteins:,} cut by"
                f" {each.cut_residues:,} residues"
            )
        lines += [f"warning: {warning}" for warning in self.folder.warnings]
        return in_units("\n".join(lines), self.folder.unit)
