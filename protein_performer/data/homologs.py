"""The proteins of a cluster one after another in a row: the task in which long context pays.

Proteins side by side at random say little of each other, relatives say much (ProtMamba,
Sgarbossa et al. 2024). A cluster's members of a split are joined as in `concat`, in an order that
another epoch draws anew, and cut into rows of `max_length` tokens; its last row is shorter. Nothing
is cut away. A protein that the table does not name stands alone.

Splits are shared out as ever. Where clusters are held out whole (OOD) all members meet; where valid
and test are random proteins, few have a relative beside them.

Shapes: B rows, L positions.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protein_performer.data.cluster_index import BLOCK_BITS, cluster_arrays, row_arrays
from protein_performer.data.objectives import Codes
from protein_performer.data.randomness import hash64
from protein_performer.data.rows import Keys, Piece, RowIndex, lay_out_pieces, row_keys
from protein_performer.data.sampler import BatchKey
from protein_performer.data.shards import StoredSplit

_OF_MEMBERS = 2  # what a hash is for: keeps it apart from the hashes of `order`


class HomologRows:
    """Lays out rows of homologs.

    Args:
        split: where the proteins lie.
        clusters: the table of them; see `splits.read_clusters`.
        max_length: tokens of a row, `<bos>` included.
        seed: of the members' order, and of what an objective draws.
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
        self.rows = row_arrays(split, self.clusters, self.row_tokens)

    def index(self) -> RowIndex:
        """Rows are known by their cluster's number, shifted, and their number in the cluster."""
        rows = self.rows["rows"]
        counts = np.array(self.rows["length_counts"])
        return RowIndex(counts, lambda places: rows[places].astype(np.int64))

    def __call__(self, key: BatchKey) -> tuple[Codes, Keys]:
        """See `RowLayout`."""
        epoch = 0 if self.evaluating else key.epoch
        rows = [self._pieces(row, epoch) for row in key.records.tolist()]
        tokens = lay_out_pieces(rows, self.split)
        if self.evaluating:
            return tokens, row_keys(self.seed, tokens)
        return tokens, hash64(self.seed, key.epoch, key.records)

    def _pieces(self, row: int, epoch: int) -> list[Piece]:
        cluster, block = row >> BLOCK_BITS, row & ((1 << BLOCK_BITS) - 1)
        begin, end = self.clusters["begins"][cluster : cluster + 2].tolist()
        members = self._shuffled(cluster, self.clusters["members"][begin:end], epoch)
        widths = np.array([len(self.split.residues(i)) + 1 for i in members.tolist()])
        bounds = np.concatenate([[0], np.cumsum(widths)]) - block * self.row_tokens
        begins = np.clip(bounds[:-1], 0, None) - bounds[:-1]
        ends = np.clip(bounds[1:], None, self.row_tokens) - bounds[:-1]
        return [
            Piece(int(members[i]), int(begins[i]), int(ends[i]))
            for i in np.flatnonzero(ends > begins)
        ]

    def _shuffled(
        self, cluster: int, members: NDArray[np.integer], epoch: int
    ) -> NDArray[np.integer]:
        lots = hash64(self.seed, epoch, _OF_MEMBERS, cluster, np.arange(len(members)))
        return members[np.argsort(lots)]
