"""Which proteins of a split are of one cluster, and how many rows of homologs they fill.

Written once beside the split's shards, with some forty bytes of memory a protein; later mapped.
"""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protein_performer.data.batches.derived import DerivedArrays, create, derive, taking_part
from protein_performer.data.batches.order import SPECIALS
from protein_performer.data.batches.rows import Ints
from protein_performer.data.shards import StoredSplit
from protein_performer.data.splits import digest64, read_clusters
from protein_performer.errors import UserError

# A row is known by its cluster's number << BLOCK_BITS + its own number among the cluster's.
BLOCK_BITS = 20
# A larger cluster is taken as several, since a row looks at the lengths of all its cluster.
_LARGEST = 1024


def cluster_arrays(split: StoredSplit, table: Path) -> DerivedArrays:
    """`members`, the (proteins,) indices of those that take part, cluster by cluster; `widths`,
    (proteins,) tokens of each, `<eos>` included; `begins`, (clusters + 1,) where each cluster
    begins among them.

    Raises: UserError for a table that cannot be read, or that names no protein of the split.
    """
    if not table.is_file():
        raise UserError(f"{table}: no such file; expected a table of cluster and accession")
    status = table.stat()
    identity = f"{table.name} {status.st_size} {status.st_mtime_ns}"
    digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
    return derive(split.folder / f"homologs-{digest}", lambda f: _write_clusters(split, table, f))


def row_arrays(clusters: DerivedArrays, row_tokens: int) -> DerivedArrays:
    """`rows`, all rows in order of length; `length_counts` of them, as of `RowIndex`.

    Args:
        clusters: of `cluster_arrays`.
        row_tokens: of a full row, without `<bos>`.
    """
    folder = clusters.folder.with_name(f"{clusters.folder.name}-rows-{row_tokens}")
    return derive(folder, lambda partial: _write_rows(clusters, row_tokens, partial))


def _write_clusters(split: StoredSplit, table: Path, folder: Path) -> None:
    cluster = _cluster_of_each(split, table)
    protein = np.flatnonzero(taking_part(split))
    cluster = cluster[protein]
    order = np.argsort(cluster, kind="stable")
    members = create(folder / "members.npy", np.uint32, len(order))
    members[:] = protein[order]
    widths = create(folder / "widths.npy", np.uint32, len(order))
    widths[:] = stored_lengths(split)[members] + 1
    cluster = cluster[order]
    first = np.flatnonzero(np.diff(cluster, prepend=-1))
    sizes = np.diff(first, append=len(cluster))
    parts = -(-sizes // _LARGEST)
    number = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
    begins = np.repeat(first, parts) + number * _LARGEST
    np.save(folder / "begins.npy", np.append(begins, len(cluster)))


def _cluster_of_each(split: StoredSplit, table: Path) -> Ints:
    """(stored proteins,) the number of each protein's cluster; unnamed ones have one each."""
    digests, numbers = _read_table(table)
    found = []
    for shard in range(split.num_shards):
        names = split.accessions(shard)
        wanted = np.fromiter(map(digest64, names), np.uint64, len(names))
        place = np.minimum(np.searchsorted(digests, wanted), len(digests) - 1)
        found.append(np.where(digests[place] == wanted, numbers[place], -1))
    cluster = np.concatenate(found)
    unnamed = np.flatnonzero(cluster < 0)
    if len(unnamed) == len(cluster):
        raise UserError(
            f"{table}: names none of the {len(cluster):,} proteins of {split.folder}"
            " (`db|ACCESSION|name` or the header's first word). Is it their table?"
        )
    cluster[unnamed] = numbers.max() + 1 + np.arange(len(unnamed))
    return cluster


def _read_table(table: Path) -> tuple[NDArray[np.uint64], Ints]:
    """Sorted digests of the accessions, and the numbers of their clusters."""
    numbers: list[int] = []
    digests: list[int] = []
    cluster, number = "", -1
    for name, accession in read_clusters(table):  # tables are grouped by cluster
        if name != cluster:
            cluster, number = name, number + 1
        numbers.append(number)
        digests.append(digest64(accession))
    unordered = np.array(digests, dtype=np.uint64)
    order = np.argsort(unordered)
    return unordered[order], np.array(numbers, dtype=np.int64)[order]


def _write_rows(clusters: DerivedArrays, row_tokens: int, folder: Path) -> None:
    ends = np.concatenate([[0], np.cumsum(clusters["widths"], dtype=np.int64)])
    tokens = np.diff(ends[clusters["begins"]])
    full, rest = np.divmod(tokens, row_tokens)
    number = full + (rest > 0)
    if number.max() >= 1 << BLOCK_BITS:
        raise UserError(
            f"data.max_length: expected more than {row_tokens + 1} tokens a row; a cluster of"
            f" {tokens.max():,} tokens would fill {number.max():,} rows"
        )
    cluster = np.repeat(np.arange(len(number)), number)
    block = np.arange(len(cluster)) - np.repeat(np.cumsum(number) - number, number)
    length = np.where(block < full[cluster], row_tokens, rest[cluster]) + 1 - SPECIALS
    order = np.argsort(length, kind="stable")
    rows = create(folder / "rows.npy", np.uint64, len(order))
    rows[:] = (cluster[order] << BLOCK_BITS) + block[order]
    np.save(folder / "length_counts.npy", np.bincount(length))


def stored_lengths(split: StoredSplit) -> Ints:
    """(stored proteins,) residues of each."""
    lengths = [split.lengths(i) for i in range(split.num_shards)]
    return np.concatenate(lengths)
