"""The report of a data module: its folder, and how its splits are cut and packed into batches."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protein_performer.data.batches.loader import Batching
from protein_performer.data.batches.order import SPECIALS, BatchOrder
from protein_performer.data.preparing.folder_report import describe_folder
from protein_performer.data.shards import StoredSplit
from protein_performer.files import replacing
from protein_performer.reporting.data_report import DataReport, SplitBatches

REPORT_FILE = "report.txt"  # in the prepared folder


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
