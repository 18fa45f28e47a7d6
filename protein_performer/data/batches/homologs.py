"""The proteins of a cluster one after another in a row: the task in which long context pays.

Proteins side by side at random say little of each other, relatives say much (ProtMamba,
Sgarbossa et al. 2024). A cluster's members of a split are joined as in `concat`, in another order
each epoch, and cut into rows of `max_length` tokens; its last row is shorter. Nothing is cut away.
A protein that the table does not name stands alone.

Splits do not change. Where clusters are held out whole (OOD) all members meet; where val
and test are random proteins, few have a relative beside them.

Shapes: B rows, L positions.
"""

import hashlib
from itertools import count
from pathlib import Path

import numpy as np

from protein_performer.data.batches.derived import DerivedArrays, create, derive, taking_part
from protein_performer.data.batches.layout import (
    Ints,
    Keys,
    Piece,
    RowIndex,
    lay_out_pieces,
    row_keys,
)
from protein_performer.data.batches.order import SPECIALS
from protein_performer.data.batches.sampler import BatchKey
from protein_performer.data.clusters import ClusterTable, digest_names
from protein_performer.data.objectives import Codes
from protein_performer.data.randomness import hash64
from protein_performer.data.shards import StoredSplit
from protein_performer.errors import UserError

# A row is known by its cluster's number << _BLOCK_BITS + its own number among the cluster's.
_BLOCK_BITS = 20
# A larger cluster is taken as several, since a row looks at the lengths of all its cluster.
_LARGEST = 1024
_OF_MEMBERS = 2  # what a hash is for: keeps it apart from the hashes of `order`


class HomologRows:
    """Lays out rows of homologs.

    Args:
        split: where the proteins lie.
        clusters: the table of them; see `clusters`.
        max_length: tokens of a row, `<bos>` included.
        seed: of the members' order, and of an objective's random bits.
        evaluating: the order is always the same, and random numbers follow from a row's content.
    """

    def __init__(
        self, split: StoredSplit, clusters: Path, *, max_length: int, seed: int, evaluating: bool
    ) -> None:
        self.split = split
        self.row_tokens = max_length - 1
        self.seed = seed
        self.evaluating = evaluating
        self.clusters = _cluster_arrays(split, clusters)
        self.rows = _row_arrays(self.clusters, self.row_tokens)

    def index(self) -> RowIndex:
        """Rows are known by their cluster's number, shifted, and their number in the cluster."""
        rows = self.rows["rows"]
        counts = np.array(self.rows["length_counts"])
        return RowIndex(counts, lambda places: rows[places].astype(np.int64))

    def __call__(self, key: BatchKey) -> tuple[Codes, Keys]:
        """See `RowLayout`."""
        epoch = 0 if self.evaluating else key.epoch
        tokens = lay_out_pieces(self._pieces(key.records, epoch), self.split)
        if self.evaluating:
            return tokens, row_keys(self.seed, tokens)
        return tokens, hash64(self.seed, key.epoch, key.records)

    def _pieces(self, rows: Ints, epoch: int) -> list[list[Piece]]:
        """What stands in each row: all clusters of the rows, shuffled and cut in one go."""
        cluster, block = rows >> _BLOCK_BITS, rows & ((1 << _BLOCK_BITS) - 1)
        begins = self.clusters["begins"]
        sizes = begins[cluster + 1] - begins[cluster]
        row = np.repeat(np.arange(len(rows)), sizes)
        number = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        keys = hash64(self.seed, epoch, _OF_MEMBERS, cluster[row], number)
        place = (begins[cluster][row] + number)[np.lexsort((keys, row))]
        widths = self.clusters["widths"][place].astype(np.int64)
        ends = np.cumsum(widths)  # of the members' tokens, all clusters one after another
        firsts = np.concatenate([[0], ends])[np.cumsum(sizes) - sizes] + block * self.row_tokens
        starts = ends - widths - firsts[row]  # of the members in their row
        begin = np.maximum(-starts, 0)
        end = np.minimum(widths, self.row_tokens - starts)
        shown = np.flatnonzero(end > begin)
        pieces = zip(
            row[shown].tolist(),
            self.clusters["members"][place[shown]].tolist(),
            begin[shown].tolist(),
            end[shown].tolist(),
            strict=True,
        )
        found: list[list[Piece]] = [[] for _ in rows]
        for at, *piece in pieces:
            found[at].append(Piece(*piece))
        return found


def _cluster_arrays(split: StoredSplit, table: Path) -> DerivedArrays:
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


def _row_arrays(clusters: DerivedArrays, row_tokens: int) -> DerivedArrays:
    """`rows`, all rows in order of length; `length_counts` of them, as of `RowIndex`.

    Args:
        clusters: of `_cluster_arrays`.
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
    widths[:] = _stored_lengths(split)[members] + 1
    cluster = cluster[order]
    first = np.flatnonzero(np.diff(cluster, prepend=-1))
    sizes = np.diff(first, append=len(cluster))
    parts = -(-sizes // _LARGEST)
    number = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
    begins = np.repeat(first, parts) + number * _LARGEST
    np.save(folder / "begins.npy", np.append(begins, len(cluster)))


def _cluster_of_each(split: StoredSplit, table: Path) -> Ints:
    """(stored proteins,) the number of each protein's cluster; unnamed ones have one each."""
    number = count()
    clusters = ClusterTable.read(table, lambda _: next(number))  # its rows are together
    names = (split.accessions(shard) for shard in range(split.num_shards))
    cluster = np.concatenate([clusters.find(digest_names(each)) for each in names])
    unnamed = np.flatnonzero(cluster < 0)
    if len(unnamed) == len(cluster):
        raise UserError(
            f"{table}: names none of the {len(cluster):,} proteins of {split.folder}"
            " (`db|ACCESSION|name` or the header's first word). Is it their table?"
        )
    cluster[unnamed] = next(number) + np.arange(len(unnamed))
    return cluster


def _write_rows(clusters: DerivedArrays, row_tokens: int, folder: Path) -> None:
    ends = np.concatenate([[0], np.cumsum(clusters["widths"], dtype=np.int64)])
    tokens = np.diff(ends[clusters["begins"]])
    full, rest = np.divmod(tokens, row_tokens)
    number = full + (rest > 0)
    if number.max() >= 1 << _BLOCK_BITS:
        raise UserError(
            f"data.max_length: expected more than {row_tokens + 1} tokens a row; a cluster of"
            f" {tokens.max():,} tokens would fill {number.max():,} rows"
        )
    cluster = np.repeat(np.arange(len(number)), number)
    block = np.arange(len(cluster)) - np.repeat(np.cumsum(number) - number, number)
    length = np.where(block < full[cluster], row_tokens, rest[cluster]) + 1 - SPECIALS
    order = np.argsort(length, kind="stable")
    rows = create(folder / "rows.npy", np.uint64, len(order))
    rows[:] = (cluster[order] << _BLOCK_BITS) + block[order]
    np.save(folder / "length_counts.npy", np.bincount(length))


def _stored_lengths(split: StoredSplit) -> Ints:
    """(stored proteins,) residues of each."""
    return np.concatenate([split.lengths(shard) for shard in range(split.num_shards)])
