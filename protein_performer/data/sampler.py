"""A rank's share of every batch, from any batch of any epoch on."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset
from torch.utils.data.distributed import DistributedSampler

from protein_performer.data.order import BatchOrder
from protein_performer.errors import UserError

_PLANNED_TOGETHER = 256  # batches computed at once: vectorized, and small beside one batch


class BatchKey(NamedTuple):
    """What a worker needs to make a batch, whichever worker it is.

    Attributes:
        epoch: from 0.
        records: (B,) int64 indices in the split.
    """

    epoch: int
    records: NDArray[np.int64]


class BatchSampler(DistributedSampler[BatchKey]):
    """Yields a `BatchKey` for each batch; a `DistributedSampler` so that Lightning keeps it.

    Every global batch is dealt out to the ranks like cards, so what the model sees in a step
    does not depend on their number, and all ranks make equally many steps.

    Args:
        dataset: whose items the keys are.
        order: the batches.
        by_length: (N,) record indices in order of length.
        rank, num_ranks: this process among those that train together.
        start: (epoch, batch) to begin at; every other epoch begins at its first batch.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        order: BatchOrder,
        by_length: NDArray[np.integer],
        *,
        rank: int = 0,
        num_ranks: int = 1,
        start: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__(dataset, num_replicas=num_ranks, rank=rank, shuffle=False)
        if order.smallest < num_ranks:
            raise UserError(
                f"the smallest batch holds {order.smallest} protein(s), which {num_ranks} ranks"
                " cannot share. Raise batch_tokens, lower max_length, or use fewer ranks."
            )
        self.order = order
        self.by_length = by_length
        self.start = start
        # A DataLoader with workers asks for keys before Lightning has called set_epoch.
        self.epoch = start[0]

    def __len__(self) -> int:
        """Batches of a whole epoch, also when it is entered midway (so Lightning counts)."""
        return len(self.order)

    def __iter__(self) -> Iterator[BatchKey]:
        epoch = self.epoch
        first = self.start[1] if epoch == self.start[0] else 0
        for begin in range(first, len(self), _PLANNED_TOGETHER):
            batches = np.arange(begin, min(begin + _PLANNED_TOGETHER, len(self)))
            for places in self.order.places(epoch, batches):
                share = places[self.rank :: self.num_replicas]
                yield BatchKey(epoch, self.by_length[share].astype(np.int64))
