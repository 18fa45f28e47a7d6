"""A prepared folder of 200 million proteins that were never read, to open it as a run does.

What grows with the number of proteins is there in full: the length order, and where each protein
begins in its shard. Only the residues are holes in sparse files, which read as zeros. All shards
hold proteins of the same lengths, drawn from a real folder.
"""

import json
import time
from pathlib import Path

import numpy as np

from benchmarks.data.loading import data_module
from protein_performer.data.manifest import MANIFEST, open_split, read_manifest
from protein_performer.data.preparing.preprocessing import SHARD_PROTEINS
from protein_performer.data.shards import (
    BY_LENGTH,
    LENGTH_COUNTS,
    SHARD_FILES,
    ShardMeta,
    file_sha256,
    shard_path,
)

_PART = 2**12  # proteins of a shard whose places are written at once


def simulate(folder: Path, shards: int) -> int:
    """Grow a prepared folder's training set to so many full shards; the proteins that it has then.

    Args:
        folder: of a few proteins; its validation set stays as it is.
        shards: of `SHARD_PROTEINS` each.
    """
    manifest = read_manifest(folder)
    counts = open_split(folder, manifest, "train").length_counts()
    share = np.random.default_rng(0)
    lengths = share.choice(len(counts), SHARD_PROTEINS, p=counts / counts.sum())
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype("<u8")
    for shard in range(shards):
        shard_path(folder / "train", shard, "offsets").write_bytes(offsets.tobytes())
        with shard_path(folder / "train", shard, "tokens").open("wb") as file:
            file.truncate(int(offsets[-1]))
    np.save(folder / "train" / LENGTH_COUNTS, np.bincount(lengths) * shards)
    _write_by_length(folder / "train" / BY_LENGTH, lengths, shards)
    sha256 = {kind: file_sha256(shard_path(folder / "train", 0, kind)) for kind in SHARD_FILES}
    meta = ShardMeta(SHARD_PROTEINS, int(offsets[-1]), sha256)._asdict()
    manifest["splits"]["train"] |= {
        "proteins": SHARD_PROTEINS * shards,
        "duplicates": 0,
        "residues": int(offsets[-1]) * shards,
        "shards": [meta] * shards,
        "index_sha256": {
            name: file_sha256(folder / "train" / name) for name in (BY_LENGTH, LENGTH_COUNTS)
        },
    }
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return SHARD_PROTEINS * shards


def _write_by_length(path: Path, lengths: np.ndarray, shards: int) -> None:
    """Row r of every shard is as long as row r of the others."""
    order = np.lib.format.open_memmap(
        path, mode="w+", dtype=np.uint32, shape=(len(lengths) * shards,)
    )
    rows, first_of_shard = np.argsort(lengths, kind="stable"), np.arange(shards) * len(lengths)
    for begin in range(0, len(rows), _PART):
        here = (rows[begin : begin + _PART, None] + first_of_shard).ravel()
        order[begin * shards : begin * shards + len(here)] = here
    order.flush()


def first_batch_seconds(source: Path, cache: Path) -> float:
    """From the name of the source to the first training batch, as one rank goes; seconds."""
    start = time.perf_counter()
    data = data_module(source, cache)
    data.prepare_data()
    data.setup("fit")
    next(iter(data.train_dataloader()))
    return time.perf_counter() - start
