"""A rank's share of every batch, from any batch of any epoch on."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset
from torch.utils.data.distributed import DistributedSampler

from protein_performer.data.batches.order import BatchOrder
from protein_performer.errors import UserError

_PLANNED_TOGETHER = 256  # batches computed at once: vectorized, and small beside one batch


class BatchKey(NamedTuple):
    """What a worker needs to make a batch, whichever worker it is.

    Attributes:
        epoch: from 0.
        records: (B,) int64, what the rows are known by; indices in the split where a row is one
            protein.
    """

    epoch: int
    records: NDArray[np.int64]


class BatchSampler(DistributedSampler[BatchKey]):
    """Yields a `BatchKey` for each batch; a `DistributedSampler` so that Lightning keeps it.

    Every global batch is shared out to the ranks in turn, so what the model sees in a step
    does not depend on their number, and all ranks make equally many steps.

    Args:
        order: the batches.
        at: places in the length order to what the rows there are known by.
        rank, world_size: this process among those that train together.
        start: (epoch, batch) to begin at; every later epoch begins at its first batch.
        count_processed: how many batches the trainer has done, ever; only differences matter.
    """

    def __init__(
        self,
        order: BatchOrder,
        at: Callable[[NDArray[np.int64]], NDArray[np.int64]],
        *,
        rank: int = 0,
        world_size: int = 1,
        start: tuple[int, int] = (0, 0),
        count_processed: Callable[[], int] = lambda: 0,
    ) -> None:
        # Of its dataset the base class asks the length alone.
        super().__init__(
            cast(Dataset[Any], order), num_replicas=world_size, rank=rank, shuffle=False
        )
        check_ranks(order, world_size)
        self.order = order
        self.at = at
        self.start = start
        self.count_processed = count_processed
        # A DataLoader with workers asks for keys before Lightning has called set_epoch.
        self.epoch = start[0]
        self._trainer_start: int | None = None  # the trainer's number of the epoch `start[0]`
        self._processed_before = 0  # when the epoch began

    def __len__(self) -> int:
        """Batches of a whole epoch, also when it is entered midway (so Lightning counts)."""
        return len(self.order)

    def set_epoch(self, epoch: int) -> None:
        """Begin the trainer's next epoch; Lightning calls this.

        Its number may differ from ours: Lightning takes an epoch for complete when `max_steps`
        ended it midway, and a run resumed from there goes on in it.
        """
        if self._trainer_start is None:
            self._trainer_start = epoch
        self.epoch = self.start[0] + epoch - self._trainer_start
        self._processed_before = self.count_processed()

    def position(self) -> tuple[int, int]:
        """(epoch, batch) after the batches processed so far; batches made ahead do not count."""
        if self._trainer_start is None:
            return self.start
        return self.epoch, self._first_batch + self.count_processed() - self._processed_before

    @property
    def _first_batch(self) -> int:
        return self.start[1] if self.epoch == self.start[0] else 0

    def __iter__(self) -> Iterator[BatchKey]:
        epoch = self.epoch
        for begin in range(self._first_batch, len(self), _PLANNED_TOGETHER):
            batches = np.arange(begin, min(begin + _PLANNED_TOGETHER, len(self)))
            for places in self.order.places(epoch, batches):
                share = places[self.rank :: self.num_replicas]
                yield BatchKey(epoch, self.at(share))


def check_ranks(order: BatchOrder, world_size: int) -> None:
    """Raise a `UserError` if a batch holds fewer rows than there are ranks."""
    if order.smallest < world_size:
        raise UserError(
            f"the smallest batch holds {order.smallest} row(s), which {world_size} ranks"
            " cannot share. Raise batch_tokens, lower max_length, or use fewer ranks."
        )
