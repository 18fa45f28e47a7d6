"""The length order of a split: a counting sort in two passes over its shards."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from protein_performer.data.preparing.tokenizer import count_tokens
from protein_performer.data.shards import BY_LENGTH, LENGTH_COUNTS, StoredSplit

_SORTED = 2**15  # proteins sorted at once
_TOGETHER = 2**20  # residues counted at once, and one more protein


class SplitCounts(NamedTuple):
    """What takes part in a split, duplicates left out."""

    proteins: int
    residues: int
    by_token: NDArray[np.int64]  # (V,) occurrences of each token


def write_index(
    split: StoredSplit, duplicate: NDArray[np.bool_], stored_tokens: NDArray[np.int64]
) -> SplitCounts:
    """Write `by_length.npy` and `length_counts.npy` of a split, and count what takes part.

    Equal lengths keep the order of the shards. Beside the arrays written, memory is that of one
    shard's offsets.

    Args:
        split: whose shards are complete.
        duplicate: (stored proteins,) True where one is left out.
        stored_tokens: (V,) occurrences of each token in the shards, duplicates included.
    """
    length_counts = np.zeros(1, dtype=np.int64)
    by_token = stored_tokens.copy()
    for shard in range(split.num_shards):
        keep, lengths = _kept_lengths(split, shard, duplicate)
        here = np.bincount(lengths[keep], minlength=len(length_counts))
        here[: len(length_counts)] += length_counts
        length_counts = here
        by_token -= _count_tokens(split, shard, np.flatnonzero(~keep), len(by_token))
    np.save(split.folder / LENGTH_COUNTS, length_counts)
    _write_by_length(split, duplicate, length_counts)
    residues = int(length_counts @ np.arange(len(length_counts)))
    return SplitCounts(int(length_counts.sum()), residues, by_token)


def _write_by_length(
    split: StoredSplit, duplicate: NDArray[np.bool_], length_counts: NDArray[np.int64]
) -> None:
    dtype = np.uint32 if len(duplicate) <= 2**32 else np.uint64
    path, proteins = split.folder / BY_LENGTH, int(length_counts.sum())
    if proteins == 0:
        np.save(path, np.zeros(0, dtype))
        return
    order = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(proteins,))
    place = np.cumsum(length_counts) - length_counts  # of the next protein of each length
    for shard in range(split.num_shards):
        keep, lengths = _kept_lengths(split, shard, duplicate)
        for begin in range(0, len(lengths), _SORTED):
            rows = begin + np.flatnonzero(keep[begin : begin + _SORTED])
            rows = rows[np.argsort(lengths[rows], kind="stable")]
            here = np.bincount(lengths[rows], minlength=len(length_counts))
            within = np.arange(len(rows)) - np.repeat(np.cumsum(here) - here, here)
            order[place[lengths[rows]] + within] = rows + shard * split.shard_proteins
            place += here
    order.flush()


def _kept_lengths(
    split: StoredSplit, shard: int, duplicate: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    lengths = split.lengths(shard)
    first = shard * split.shard_proteins
    return ~duplicate[first : first + len(lengths)], lengths


def _count_tokens(
    split: StoredSplit, shard: int, rows: NDArray[np.int64], vocabulary_size: int
) -> NDArray[np.int64]:
    counts = np.zeros(vocabulary_size, dtype=np.int64)
    if not len(rows):
        return counts
    tokens, offsets = split.shard(shard)
    begins, ends = offsets[rows].astype(np.int64), offsets[rows + 1].astype(np.int64)
    part = np.cumsum(ends - begins) // _TOGETHER
    first = np.flatnonzero(np.diff(part, prepend=-1))  # row of each part
    for low, high in pairwise([*first.tolist(), len(rows)]):
        bounds = zip(begins[low:high].tolist(), ends[low:high].tolist(), strict=True)
        counts += count_tokens(np.concatenate([tokens[a:b] for a, b in bounds]), vocabulary_size)
    return counts
