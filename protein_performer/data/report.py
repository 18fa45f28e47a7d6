"""What became of the records: read, dropped, copied, cut, and how well they fill the batches."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protein_performer.alphabet import Alphabet
from protein_performer.data.order import SPECIALS, BatchOrder
from protein_performer.data.records import ReadCounts

_MOST_SHOWN = 30  # letters whose shares are told


@dataclass(frozen=True)
class SplitReport:
    """One split; lengths in residues, of the proteins that take part."""

    proteins: int
    residues: int
    duplicates: int  # exact copies of a protein of this or another split, left out
    shortest: int
    median: float
    mean: float
    longest: int
    cut_proteins: int  # longer than max_length
    cut_residues: int  # of these, outside the window in one epoch
    batches: int
    padding_share: float  # of the places in the batches of an epoch


@dataclass(frozen=True)
class DataReport:
    """The whole story; `str()` tells it in a few lines, `plain()` is for JSON."""

    read: dict[str, Any]  # ReadCounts
    encoded: dict[str, int]  # ResidueCounts
    emptied: int  # records that the residue policy `skip` left without a residue
    warnings: list[str]
    splits: dict[str, SplitReport]
    residue_shares: dict[str, float]  # letter -> share, of all splits together
    unit: str = "residue"  # `byte` where the records are books

    def plain(self) -> dict[str, Any]:
        """Plain types."""
        return asdict(self)

    def __str__(self) -> str:
        odd = {name: count for name, count in self.encoded.items() if name != "residues"}
        told = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in odd.items())
        return "\n".join(
            [
                f"{self.read['records']:,} records, {self.read['residues']:,} letters: {told};"
                f" {self.emptied:,} records without a {self.unit} left out",
                *(f"warning: {warning}" for warning in self.warnings),
                *_table(self.splits, self.unit),
                self._shares(),
            ]
        )

    def _shares(self) -> str:
        shown, which = list(self.residue_shares.items()), f"each {self.unit}"
        if len(shown) > _MOST_SHOWN:
            shown = sorted(shown, key=lambda pair: -pair[1])[:_MOST_SHOWN]
            which = f"the {_MOST_SHOWN} most frequent {self.unit}s"
        return f"share of {which}, %: " + " ".join(f"{n} {share:.2%}"[:-1] for n, share in shown)


def _table(splits: Mapping[str, SplitReport], unit: str) -> list[str]:
    names = [field.name for field in fields(SplitReport)]
    titles = [name.replace("_", " ") for name in names]
    if unit == "byte":
        titles = [each.replace("proteins", "books").replace("residues", "bytes") for each in titles]
    rows = [["split", *titles]]
    for name, split in splits.items():
        figures = [getattr(split, each) for each in names]
        rows.append(
            [
                name,
                *(f"{each:,.4g}" if isinstance(each, float) else f"{each:,}" for each in figures),
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]


def make_report(
    manifest: Mapping[str, Any],
    lengths: Mapping[str, NDArray[np.int64]],
    orders: Mapping[str, BatchOrder],
    padding: Mapping[str, float],
    max_length: int | None,
    alphabet: Alphabet,
) -> DataReport:
    """Add up a report.

    Args:
        manifest: of the prepared folder.
        lengths: split -> (longest + 1,) number of proteins of each length.
        orders: split -> its batches.
        padding: split -> share of padding among the places of its batches.
        max_length: residues of a protein that an epoch shows; None for all.
        alphabet: that names the residues.
    """
    splits = {
        name: _split_report(
            manifest["splits"][name], counts, len(orders[name]), padding[name], max_length
        )
        for name, counts in lengths.items()
    }
    read = ReadCounts(**manifest["read"])
    by_token = np.sum([split["residue_counts"] for split in manifest["splits"].values()], axis=0)
    shares = by_token[alphabet.first_letter :] / by_token.sum()
    return DataReport(
        read=manifest["read"],
        encoded=manifest["residues"],
        emptied=manifest["emptied"],
        warnings=read.warnings(),
        splits=splits,
        residue_shares=dict(zip(alphabet.letter_names, shares.tolist(), strict=True)),
        unit=alphabet.unit,
    )


def _split_report(
    entry: Mapping[str, Any],
    counts: NDArray[np.int64],
    batches: int,
    padding: float,
    max_length: int | None,
) -> SplitReport:
    length, proteins = np.arange(len(counts)), int(counts.sum())
    present = np.flatnonzero(counts)
    ranks = np.searchsorted(np.cumsum(counts), [(proteins - 1) // 2 + 1, proteins // 2 + 1])
    cut = np.maximum(length - (max_length or len(counts)), 0)
    return SplitReport(
        proteins=proteins,
        residues=entry["residues"],
        duplicates=entry["duplicates"],
        shortest=int(present[0]),
        median=float(ranks.mean()),
        mean=entry["residues"] / proteins,
        longest=int(present[-1]),
        cut_proteins=int(counts[cut > 0].sum()),
        cut_residues=int(counts @ cut),
        batches=batches,
        padding_share=padding,
    )


def padding_share(counts: NDArray[np.int64], order: BatchOrder) -> float:
    """Share of padding among the places of an epoch's batches, at most.

    Each batch is taken to be as wide as its bucket; it is as wide as its own longest protein.

    Args:
        counts: (longest + 1,) number of rows of each length.
        order: the batches.
    """
    length, ends = np.arange(len(counts)), np.cumsum(counts)
    places = tokens = 0
    for bucket in order.buckets:
        stop = bucket.first + bucket.proteins
        here = np.minimum(ends, stop) - np.maximum(ends - counts, bucket.first)
        places += bucket.proteins * (bucket.width + SPECIALS)
        tokens += int(np.maximum(here, 0) @ (np.minimum(length, bucket.width) + SPECIALS))
    return 1 - tokens / places
