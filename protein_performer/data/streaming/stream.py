"""Batches of training proteins as the sources are read, without a copy on the disk.

The files of the sources are dealt out to lanes, which give a batch each in turn; a lane that is at
its end is passed over. Of a lane a buffer of proteins is in memory at a time (`lane`); its rows are
sorted by length and shuffled as those of a stored split are. So the batches of an epoch, and their
order, are a pure function of (seed, epoch, buffer, batch) and of the sources, whatever the ranks
and workers.

The lanes are dealt out to a rank's workers, so that no byte is inflated by two of them. Ranks share
each batch, whose rows are of one buffer: each rank inflates all of the text. To part the files
among ranks, too, a batch would need rows of all ranks' files, and thus depend on their number.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from protein_performer.batch import Batch
from protein_performer.data.batches.collate import Batches, Failed
from protein_performer.data.batches.layout import RowIndex
from protein_performer.data.batches.loader import Batching, Rank
from protein_performer.data.batches.order import BatchOrder
from protein_performer.data.batches.sampler import BatchKey, check_ranks
from protein_performer.data.randomness import hash64
from protein_performer.data.streaming.lane import BufferStart, Filled, Lane
from protein_performer.data.streaming.stream_counts import StreamCounts
from protein_performer.errors import UserError

MOST_LANES = 16  # each has a buffer in memory


class LanePosition(NamedTuple):
    """The next batch of a lane: its number among those of the buffer that begins at `buffer`."""

    buffer: BufferStart
    batch: int = 0


@dataclass(frozen=True)
class Position:
    """The next batch to train on.

    Attributes:
        epoch: passes over the sources so far.
        turn: the lane whose turn it is.
        lanes: the next batch of each; None of one that is at its end.
    """

    epoch: int
    turn: int
    lanes: tuple[LanePosition | None, ...]

    @classmethod
    def begin(cls, epoch: int, lanes: int) -> "Position":
        """The first batch of an epoch, with so many lanes."""
        starts = [LanePosition(BufferStart.of_lane(number)) for number in range(lanes)]
        return cls(epoch, 0, tuple(starts))

    def behind(self, lane: int, then: LanePosition | None) -> "Position":
        """The position once a batch of a lane is done."""
        lanes = tuple(then if each == lane else at for each, at in enumerate(self.lanes))
        return Position(self.epoch, (lane + 1) % len(lanes), lanes)

    def plain(self) -> dict[str, Any]:
        """Plain types, for a checkpoint."""
        lanes = [at and {"buffer": at.buffer.plain(), "batch": at.batch} for at in self.lanes]
        return {"epoch": self.epoch, "turn": self.turn, "lanes": lanes}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Position":
        """The inverse of `plain`."""
        lanes = [
            at and LanePosition(BufferStart.from_plain(at["buffer"]), at["batch"])
            for at in plain["lanes"]
        ]
        return cls(plain["epoch"], plain["turn"], tuple(lanes))


class Streamed(NamedTuple):
    """A batch on its way to the trainer.

    Attributes:
        batch: a rank's share; None where a lane turns out to have no training proteins.
        lane: that it is of.
        behind: the lane's next one.
        counts: what was read of the lane in this epoch when it was made.
    """

    batch: Batch | None
    lane: int
    behind: LanePosition | None
    counts: StreamCounts


class StreamedBatches(IterableDataset[Streamed | Failed | None]):
    """The batches from a position to the end of its epoch, for one rank; None stands for no batch.

    Args:
        lanes: of the stream.
        batching: of their training proteins.
        rank: whose share.
    """

    def __init__(self, lanes: list[Lane], batching: Batching, rank: Rank) -> None:
        self.lanes = lanes
        self.batching = batching
        self.rank, self.world_size = rank.number, rank.world_size  # a trainer is not picklable
        self.position = Position.begin(0, len(lanes))

    def __iter__(self) -> Iterator[Streamed | Failed | None]:
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        try:
            yield from self._turns(number, workers)
        except UserError as error:
            yield Failed(str(error))

    def _turns(self, worker: int, workers: int) -> Iterator[Streamed | None]:
        """A batch, or None, for each of the worker's turns.

        The loader asks worker after worker. All of them make equally many turns in a round, and
        none ends within one, so that batches arrive in the order of the lanes.
        """
        order = np.roll(np.arange(len(self.lanes)), -self.position.turn).tolist()
        turns = -(-len(order) // workers)
        mine = order[worker::workers]
        left = {lane: self._batches_of(self.lanes[lane]) for lane in mine}
        while left:
            for turn in range(turns):
                lane = mine[turn] if turn < len(mine) else -1
                made = next(left[lane], None) if lane in left else None
                if made is None:
                    left.pop(lane, None)
                yield made

    def _batches_of(self, lane: Lane) -> Iterator[Streamed]:
        position = self.position.lanes[lane.number]
        if position is None:
            return
        first = position.batch
        for filled in lane.read(position.buffer):
            if filled.buffer is None:
                yield Streamed(None, lane.number, None, filled.counts)
            else:
                planned = self._plan(lane.number, filled)
                yield from planned.make(np.arange(first, len(planned.order)))
            first = 0

    def _plan(self, lane: int, filled: Filled) -> "_Plan":
        """The batches of a buffer."""
        epoch, batching, buffer = self.position.epoch, self.batching, filled.buffer
        assert buffer is not None
        shuffle = int(hash64(batching.seed, epoch, buffer.number)[0])
        rows, index = batching.row_rule.buffer_rows(buffer, seed=batching.seed, shuffle=shuffle)
        order = batching.order(index.length_counts, shuffle)
        check_ranks(order, self.world_size)
        share = slice(self.rank, None, self.world_size)
        return _Plan(lane, epoch, filled, batching.batches(rows), index, order, share)


class _Plan(NamedTuple):
    """What the batches of a buffer are made of."""

    lane: int
    epoch: int
    filled: Filled
    batches: Batches
    row_index: RowIndex
    order: BatchOrder
    share: slice  # of each batch

    def make(self, numbers: NDArray[np.int64]) -> Iterator[Streamed]:
        """Some of them."""
        planned = self.order.places(self.epoch, numbers) if len(numbers) else []
        for number, places in zip(numbers.tolist(), planned, strict=True):
            key = BatchKey(self.epoch, self.row_index.at(places[self.share]))
            yield Streamed(self.batches[key], self.lane, self._behind(number), self.filled.counts)

    def _behind(self, number: int) -> LanePosition | None:
        if number + 1 < len(self.order):
            return LanePosition(self.filled.start, number + 1)
        return None if self.filled.behind is None else LanePosition(self.filled.behind)
