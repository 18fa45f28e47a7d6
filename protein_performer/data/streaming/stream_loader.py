"""What the trainer takes the batches of a stream from."""

import logging
from collections import deque
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from protein_performer.batch import Batch
from protein_performer.data.batches.collate import Failed
from protein_performer.data.batches.loader import Rank
from protein_performer.data.streaming.stream import Position, Streamed, StreamedBatches
from protein_performer.data.streaming.stream_counts import StreamCounts
from protein_performer.data.workers import end_with_parent
from protein_performer.errors import UserError

log = logging.getLogger(__name__)


class StreamLoader:
    """Hands out the batches of a stream; each iteration goes on where training is.

    So a trainer's epoch ends with the sources, or earlier where batches are limited, and no batch
    is left out or repeated then. It has no length: nobody knows it before the end.

    Args:
        batches: of one rank.
        num_workers: processes that make them, as far as there are lanes for them; 0 makes them
            here.
        start: the first batch.
        rank: whose `count_processed` counts the batches that the trainer is through with; without,
            those that were handed out count.
    """

    def __init__(
        self, batches: StreamedBatches, *, num_workers: int, start: Position, rank: Rank
    ) -> None:
        self._batches = batches
        self._num_workers = min(num_workers, len(batches.lanes))
        self._rank = rank
        self._position = start
        self._behind: deque[Position] = deque()  # behind the batches after the position
        self._handed_out = 0
        self._passed = self._processed()  # batches, ever, in front of the position
        self._counts: dict[int, StreamCounts] = {}  # of the lanes in the epoch so far

    def position(self) -> Position:
        """The first batch that was not processed; batches made ahead do not count."""
        while self._behind and self._passed < self._processed():
            self._position = self._behind.popleft()
            self._passed += 1
        if not any(self._position.lanes):
            return Position.begin(self._position.epoch + 1, len(self._position.lanes))
        return self._position

    def __iter__(self) -> Iterator[Batch]:
        self._batches.position = self._position = self.position()
        self._passed = self._processed()
        self._behind.clear()
        # Workers that stay would keep the position at which they began.
        made = DataLoader(
            self._batches,
            batch_size=None,
            num_workers=self._num_workers,
            worker_init_fn=end_with_parent,
        )
        return self._hand_out(self._position, iter(made))

    def _hand_out(
        self, ahead: Position, made: Iterator[Streamed | Failed | None]
    ) -> Iterator[Batch]:
        failed: Failed | None = None
        for each in made:
            if isinstance(each, Failed):
                failed = each
                break
            if each is None:
                continue
            self.position()  # lets go of what is behind it
            ahead = ahead.behind(each.lane, each.behind)
            self._counts[each.lane] = each.counts
            if each.batch is None:
                continue
            self._behind.append(ahead)
            self._handed_out += 1
            if not any(ahead.lanes):
                self.log_counts(ahead.epoch)
            yield each.batch
        del made  # ends workers now, and not when somebody lets go of the error's traceback
        if failed is not None:
            raise UserError(failed.message)
        self.log_counts(ahead.epoch)
        if self._behind:  # a lane without a batch may have come to its end behind the last batch
            self._behind[-1] = ahead
        else:
            self._position = ahead

    def log_counts(self, epoch: int | None = None) -> None:
        """Log what was read, once and on one rank, at the end of an epoch or of training (None)."""
        total = StreamCounts()
        for counts in self._counts.values():
            total.add(counts)
        if self._counts and self._rank.number == 0:
            far = "so far in this epoch" if epoch is None else f"to the end, epoch {epoch + 1}"
            log.info("read %s:\n%s", far, total)
        self._counts = {}

    def _processed(self) -> int:
        count = self._rank.count_processed
        return self._handed_out if count is None else count()

    def state_dict(self) -> dict[str, Any]:
        """Nothing; see `ProteinDataModule.state_dict`. Lightning warns where there is none."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing; see `ProteinDataModule.load_state_dict`."""
