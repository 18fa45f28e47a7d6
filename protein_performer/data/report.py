"""What a data module trains on: what lies in its folder, cut and packed into batches."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protein_performer.data.batches.loader import Batching
from protein_performer.data.batches.order import SPECIALS, BatchOrder
from protein_performer.data.preparing.folder_report import (
    FolderReport,
    describe_folder,
    in_units,
    table,
)
from protein_performer.data.shards import StoredSplit
from protein_performer.files import replacing

REPORT_FILE = "report.txt"  # in the prepared folder


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


def make_report(
    manifest: Mapping[str, Any],
    splits: Mapping[str, StoredSplit],
    batching: Callable[[str], Batching],
) -> DataReport:
    """Add up a report.

    Args:
        manifest: of the prepared folder.
        splits: all of it.
        batching: of a split, by its name.
    """
    lengths = {name: split.length_counts() for name, split in splits.items()}
    batches = {
        name: _describe_batches(batching(name), split, lengths[name])
        for name, split in splits.items()
        if len(split)
    }
    return DataReport(describe_folder(manifest, lengths), batches)


def _describe_batches(
    batching: Batching, split: StoredSplit, lengths: NDArray[np.int64]
) -> SplitBatches:
    rows = batching.rows(split)[1].length_counts
    order = batching.order(rows)
    cut = np.maximum(np.arange(len(lengths)) - (batching.row_rule.cuts_to or len(lengths)), 0)
    return SplitBatches(
        batches=len(order),
        padding_share=padding_share(rows, order),
        cut_proteins=int(lengths[cut > 0].sum()),
        cut_residues=int(lengths @ cut),
    )


def keep_report(report: DataReport, folder: Path) -> Path | None:
    """Write what does not depend on the batches into the prepared folder, once.

    Returns: the file; None in a folder that is there to be read only.
    """
    path = folder / REPORT_FILE
    try:
        if not path.exists():
            with replacing(path) as partial:
                partial.write_text(f"{report.folder}\n")
    except OSError:
        return None
    return path


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
