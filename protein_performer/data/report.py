"""What became of the records: read, dropped, copied, cut, and how well they fill the batches."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protein_performer.data.order import SPECIALS, BatchOrder
from protein_performer.data.records import ReadCounts


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
    residues: dict[str, int]  # ResidueCounts
    emptied: int  # records that the residue policy `skip` left without a residue
    warnings: list[str]
    splits: dict[str, SplitReport]

    def plain(self) -> dict[str, Any]:
        """Plain types."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [
            f"{self.read['records']:,} records with {self.read['residues']:,} residues read; "
            + ", ".join(
                f"{name.replace('_', ' ')} {n:,}"
                for name, n in self.residues.items()
                if name != "residues"
            )
            + f"; emptied {self.emptied:,}"
        ]
        lines += [f"warning: {warning}" for warning in self.warnings]
        for name, split in self.splits.items():
            lines.append(
                f"{name:5} {split.proteins:>11,} proteins {split.residues:>15,} residues,"
                f" length {split.shortest}-{split.longest} (median"
                f" {split.median:g}, mean {split.mean:.0f}),"
                f" {split.duplicates:,} copies left out, {split.cut_proteins:,} cut by"
                f" {split.cut_residues:,} residues, {split.batches:,} batches,"
                f" {split.padding_share:.1%} padding"
            )
        return "\n".join(lines)


def make_report(
    manifest: Mapping[str, Any],
    lengths: Mapping[str, NDArray[np.int64]],
    orders: Mapping[str, BatchOrder],
    max_length: int | None,
) -> DataReport:
    """Add up a report.

    Args:
        manifest: of the prepared folder.
        lengths: split -> (longest + 1,) number of proteins of each length.
        orders: split -> its batches.
        max_length: residues of a protein that enter a batch; None for all.
    """
    splits = {
        name: _split_report(manifest["splits"][name], counts, orders[name], max_length)
        for name, counts in lengths.items()
    }
    read = ReadCounts(**manifest["read"])
    return DataReport(
        manifest["read"], manifest["residues"], manifest["emptied"], read.warnings(), splits
    )


def _split_report(
    entry: Mapping[str, Any],
    counts: NDArray[np.int64],
    order: BatchOrder,
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
        batches=len(order),
        padding_share=padding_share(counts, order),
    )


def padding_share(counts: NDArray[np.int64], order: BatchOrder) -> float:
    """Share of padding among the places of an epoch's batches, at most.

    Each batch is taken to be as wide as its bucket; it is as wide as its own longest protein.

    Args:
        counts: (longest + 1,) number of proteins of each length.
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
