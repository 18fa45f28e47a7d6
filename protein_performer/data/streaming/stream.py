"""Batches of training proteins as the sources are read, without a copy on the disk.

A buffer of the sources' proteins is in memory at a time (`buffers`); its rows are sorted by length
and shuffled as those of a stored split are. So batch b of buffer k of epoch e is a pure function
of (seed, e, k, b) and of the sources, whatever the ranks and workers: each global batch is dealt
out to the ranks, and of a rank's shares worker w of W makes every W-th.

Every worker of every rank reads, inflates and encodes all of the text, since a buffer is made of
all of it: the speed of one reader bounds that of all of them together. Shards know no such bound.
"""

import logging
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from protein_performer.batch import Batch
from protein_performer.data.batches.collate import Batches, Failed
from protein_performer.data.batches.layout import RowIndex
from protein_performer.data.batches.loader import Batching, Rank
from protein_performer.data.batches.order import BatchOrder
from protein_performer.data.batches.sampler import BatchKey, check_ranks
from protein_performer.data.randomness import hash64
from protein_performer.data.streaming.buffers import Begin, BufferReader, Filled
from protein_performer.data.streaming.tally import Tally
from protein_performer.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Position:
    """The next batch to train on.

    Attributes:
        epoch: passes over the sources so far.
        begin: of the batch's buffer.
        batch: its number among the buffer's.
    """

    epoch: int = 0
    begin: Begin = field(default_factory=Begin)
    batch: int = 0

    def plain(self) -> dict[str, Any]:
        """Plain types, for a checkpoint."""
        return {"epoch": self.epoch, "begin": self.begin.plain(), "batch": self.batch}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Position":
        """What `plain` told."""
        return cls(plain["epoch"], Begin.from_plain(plain["begin"]), plain["batch"])


class Streamed(NamedTuple):
    """A batch on its way to the trainer.

    Attributes:
        batch: a rank's share.
        behind: the position behind it.
        read: what was read of the sources in this epoch when it was made.
    """

    batch: Batch
    behind: Position
    read: Tally


class StreamedBatches(IterableDataset[Streamed | Failed]):
    """The batches from a position to the end of its epoch, for one rank.

    Args:
        reader: of the sources.
        batching: of their training proteins.
        rank: which rank's share.
    """

    def __init__(self, reader: BufferReader, batching: Batching, rank: Rank) -> None:
        self.reader = reader
        self.batching = batching
        self.rank, self.world_size = rank.number, rank.world_size
        self.start = Position()

    def __iter__(self) -> Iterator[Streamed | Failed]:
        try:
            yield from self._batches()
        except UserError as error:
            yield Failed(str(error))

    def _batches(self) -> Iterator[Streamed]:
        worker = get_worker_info()
        turn, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        first = self.start.batch
        for filled in self.reader.read(self.start.begin):
            planned = self._plan(filled)
            total = len(planned.order)
            yield from planned.make(np.arange(first + turn, total, workers))
            turn, first = (turn - (total - first)) % workers, 0

    def _plan(self, filled: Filled) -> "_Plan":
        """The batches of a buffer."""
        epoch, batching = self.start.epoch, self.batching
        shuffle = int(hash64(batching.seed, epoch, filled.buffer.number)[0])
        rows, index = batching.row_rule.buffer_rows(
            filled.buffer, seed=batching.seed, shuffle=shuffle
        )
        order = batching.order(index.length_counts, shuffle)
        check_ranks(order, self.world_size)
        share = slice(self.rank, None, self.world_size)
        return _Plan(epoch, filled, batching.batches(rows), index, order, share)


class _Plan(NamedTuple):
    """What the batches of a buffer are made of."""

    epoch: int
    filled: Filled
    batches: Batches
    row_index: RowIndex
    order: BatchOrder
    share: slice  # of each batch

    def make(self, numbers: NDArray[np.int64]) -> Iterator[Streamed]:
        """Some of them."""
        if not len(numbers):
            return
        planned = self.order.places(self.epoch, numbers)
        for number, places in zip(numbers.tolist(), planned, strict=True):
            key = BatchKey(self.epoch, self.row_index.at(places[self.share]))
            yield Streamed(self.batches[key], self._behind(number), self.filled.read)

    def _behind(self, number: int) -> Position:
        if number + 1 < len(self.order):
            return Position(self.epoch, self.filled.begin, number + 1)
        if self.filled.behind is not None:
            return Position(self.epoch, self.filled.behind)
        return Position(self.epoch + 1)


class StreamLoader:
    """What the trainer takes batches from; each iteration goes on where training is.

    So a trainer's epoch ends with the sources, or earlier where batches are limited, and no batch
    is left out or repeated then. It has no length: nobody knows it before the end.

    Args:
        batches: of one rank.
        num_workers: processes that make them; 0 makes them here.
        start: the first batch.
        rank: whose `count_processed` tells the batches that the trainer is through with; without,
            those that were handed out.
    """

    def __init__(
        self, batches: StreamedBatches, *, num_workers: int, start: Position, rank: Rank
    ) -> None:
        self._batches = batches
        self._num_workers = num_workers
        self._rank = rank
        self._position = start
        self._behind: deque[Position] = deque()  # behind the batches after the position
        self._handed_out = 0
        self._passed = self._processed()  # batches, ever, in front of the position
        self.read: Tally | None = None  # of the epoch so far

    def position(self) -> Position:
        """The first batch that was not processed; batches made ahead do not count."""
        while self._behind and self._passed < self._processed():
            self._position = self._behind.popleft()
            self._passed += 1
        return self._position

    def __iter__(self) -> Iterator[Batch]:
        start = self.position()
        self._passed = self._processed()
        self._behind.clear()
        self._batches.start = start
        # Workers that stay would keep the position at which they began.
        made = DataLoader(self._batches, batch_size=None, num_workers=self._num_workers)
        return self._hand_out(start.epoch, iter(made))

    def _hand_out(self, epoch: int, made: Iterator[Streamed | Failed]) -> Iterator[Batch]:
        failed: Failed | None = None
        for each in made:
            if isinstance(each, Failed):
                failed = each
                break
            self.position()  # lets go of what is behind it
            self._behind.append(each.behind)
            self.read = each.read
            self._handed_out += 1
            if each.behind.epoch > epoch:
                self.tell(f"read to the end, epoch {epoch + 1}")
            yield each.batch
        del made  # ends workers now, and not when somebody lets go of the error's traceback
        if failed is not None:
            raise UserError(failed.message)

    def tell(self, what: str) -> None:
        """Log what was read in this epoch since it was last told, on one rank."""
        if self.read is not None and self._rank.number == 0:
            log.info("%s:\n%s", what, self.read)
        self.read = None

    def _processed(self) -> int:
        count = self._rank.count_processed
        return self._handed_out if count is None else count()

    def state_dict(self) -> dict[str, Any]:
        """Nothing; see `ProteinDataModule.state_dict`. Lightning warns where there is none."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing; see `ProteinDataModule.load_state_dict`."""
