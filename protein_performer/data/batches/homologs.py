"""The proteins of a cluster one after another in a row: the task in which long context pays.

Proteins side by side at random say little of each other, relatives say much (ProtMamba,
Sgarbossa et al. 2024). A cluster's members of a split are joined as in `concat`, in another order
each epoch, and cut into rows of `max_length` tokens; its last row is shorter. Nothing is cut away.
A protein that the table does not name stands alone.

Splits are shared out as ever. Where clusters are held out whole (OOD) all members meet; where val
and test are random proteins, few have a relative beside them.

Shapes: B rows, L positions.
"""

from pathlib import Path

import numpy as np

from protein_performer.data.batches.cluster_index import BLOCK_BITS, cluster_arrays, row_arrays
from protein_performer.data.batches.rows import (
    Ints,
    Keys,
    Piece,
    RowIndex,
    lay_out_pieces,
    row_keys,
)
from protein_performer.data.batches.sampler import BatchKey
from protein_performer.data.objectives import Codes
from protein_performer.data.randomness import hash64
from protein_performer.data.shards import StoredSplit

_OF_MEMBERS = 2  # what a hash is for: keeps it apart from the hashes of `order`


class HomologRows:
    """Lays out rows of homologs.

    Args:
        split: where the proteins lie.
        clusters: the table of them; see `splits.read_clusters`.
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
        self.clusters = cluster_arrays(split, clusters)
        self.rows = row_arrays(self.clusters, self.row_tokens)

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
        cluster, block = rows >> BLOCK_BITS, rows & ((1 << BLOCK_BITS) - 1)
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
