"""All proteins one after another, cut into blocks: the Performer paper's concatenated task.

Appendix C.1 and its code (google-research, protein_lm): sequences joined with `<eos>` between
them and cut into blocks of 8192 tokens, so that nothing is cut away. Attention crosses the
boundaries of proteins, as there: no mask keeps them apart. To keep them apart, a block could be
handed over as its pieces, one row each, which needs no mask in any mechanism; but beside a piece
of 8000 residues thirty pieces of 300 are nearly all padding. So that is `proteins` with
crop="all": each protein in rows of its own, beside rows of like length. The tokens are the same.

Differences: our rows begin with `<bos>`, one of their `max_length` tokens; the last block of a
split is shorter instead of left out; exact copies do not take part.

Shapes: B rows, L positions.
"""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from protein_performer.data.batches.derived import DerivedArrays, create, derive, taking_part
from protein_performer.data.batches.layout import (
    Ints,
    Keys,
    Piece,
    Proteins,
    RowIndex,
    lay_out_pieces,
    row_keys,
)
from protein_performer.data.batches.order import SPECIALS
from protein_performer.data.batches.sampler import BatchKey
from protein_performer.data.objectives import Codes
from protein_performer.data.randomness import hash64
from protein_performer.data.shards import StoredSplit


class Joined(Protocol):
    """Holds `starts`: (N + 1,) where each of N proteins begins among all tokens that are joined."""

    def __getitem__(self, name: str, /) -> NDArray[Any]:
        """The array `starts`."""
        ...


def join(split: StoredSplit) -> DerivedArrays:
    """Join a split in the order of its shards."""
    return derive(split.folder / "concat", lambda folder: _write(split, folder))


def join_in_memory(lengths: Ints) -> Joined:
    """Join proteins of these lengths, in this order."""
    return {"starts": np.concatenate([[0], np.cumsum(lengths + 1)]).astype(np.uint64)}


class ConcatRows:
    """Lays out blocks of proteins that are joined in the order of their indices, from 0.

    Args:
        proteins: where they lie.
        joined: where they begin.
        max_length: tokens of a row, `<bos>` included.
        seed: of an objective's random bits.
        evaluating: random numbers follow from a block's content, else from its number and the
            epoch.
        first: number of the first block.
    """

    def __init__(
        self,
        proteins: Proteins,
        joined: Joined,
        *,
        max_length: int,
        seed: int,
        evaluating: bool,
        first: int = 0,
    ) -> None:
        self.proteins = proteins
        self.joined = joined
        self.block_tokens = max_length - 1
        self.seed = seed
        self.evaluating = evaluating
        self.first = first

    def index(self) -> RowIndex:
        """Rows are known by their block's number; all but the last are of equal length."""
        blocks, rest = divmod(int(self.joined["starts"][-1]), self.block_tokens)
        counts = np.zeros(self.block_tokens + 2 - SPECIALS, dtype=np.int64)
        counts[self.block_tokens + 1 - SPECIALS] = blocks
        if rest:
            counts[rest + 1 - SPECIALS] += 1
        counts = np.trim_zeros(counts, "b")
        short = int(rest > 0)
        # By length, the short block comes first: of what is joined it is the last one.
        first = self.first
        return RowIndex(counts, lambda places: first + (places - short) % (blocks + short))

    def __call__(self, key: BatchKey) -> tuple[Codes, Keys]:
        """See `RowLayout`."""
        rows = [self._pieces(number - self.first) for number in key.records.tolist()]
        tokens = lay_out_pieces(rows, self.proteins)
        if self.evaluating:
            return tokens, row_keys(self.seed, tokens)
        return tokens, hash64(self.seed, key.epoch, key.records)

    def _pieces(self, block: int) -> list[Piece]:
        starts = self.joined["starts"]
        begin = block * self.block_tokens
        end = min(begin + self.block_tokens, int(starts[-1]))
        first = int(np.searchsorted(starts, np.uint64(begin), side="right")) - 1
        last = int(np.searchsorted(starts, np.uint64(end), side="left"))
        bounds = starts[first : last + 1].astype(np.int64)
        begins = np.maximum(begin - bounds[:-1], 0)
        ends = np.minimum(bounds[1:], end) - bounds[:-1]
        return [
            Piece(first + i, int(begins[i]), int(ends[i]))
            for i in np.flatnonzero(ends > begins).tolist()  # a copy has no tokens
        ]


def _write(split: StoredSplit, folder: Path) -> None:
    """Write `starts`; memory is a byte a protein and one shard's offsets."""
    takes_part = taking_part(split)
    starts = create(folder / "starts.npy", "<u8", len(takes_part) + 1)
    starts[0] = at = 0
    for shard in range(split.num_shards):
        first = shard * split.shard_proteins
        widths = split.lengths(shard) + 1  # <eos>
        widths[~takes_part[first : first + len(widths)]] = 0
        starts[first + 1 : first + len(widths) + 1] = at + np.cumsum(widths)
        at = int(starts[first + len(widths)])
