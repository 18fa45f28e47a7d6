"""What a data module trains on: what lies in its folder, cut and packed into batches."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protein_performer.data.batches.order import SPECIALS, BatchOrder
from protein_performer.data.preparing.folder_report import (
    FolderReport,
    LengthCounts,
    describe_folder,
    in_units,
    table,
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
    """The whole story; `str()` tells it in a few tables, `plain()` is for JSON."""

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
        told = in_units(table("batches", columns, rows), self.folder.unit)
        return f"{self.folder}\n\n{told}"


def make_report(
    manifest: Mapping[str, Any],
    lengths: LengthCounts,
    orders: Mapping[str, BatchOrder],
    padding: Mapping[str, float],
    max_length: int | None,
) -> DataReport:
    """Add up a report.

    Args:
        manifest: of the prepared folder.
        lengths: split -> (longest + 1,) number of proteins of each length.
        orders: split that is not empty -> its batches.
        padding: split that is not empty -> share of padding among the places of its batches.
        max_length: residues of a protein that an epoch shows; None for all.
    """
    batches = {}
    for name, order in orders.items():
        counts = lengths[name]
        cut = np.maximum(np.arange(len(counts)) - (max_length or len(counts)), 0)
        batches[name] = SplitBatches(
            batches=len(order),
            padding_share=padding[name],
            cut_proteins=int(counts[cut > 0].sum()),
            cut_residues=int(counts @ cut),
        )
    return DataReport(describe_folder(manifest, lengths), batches)


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
