"""How rows become batches, in training or in evaluation, and what the trainer takes them from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch.utils.data import DataLoader

from protein_performer.alphabet import Alphabet
from protein_performer.batch import Batch
from protein_performer.data.batches.collate import Batches, CaughtFailures, Failed
from protein_performer.data.batches.layout import Ints, RowIndex, RowLayout
from protein_performer.data.batches.order import BatchOrder, make_buckets
from protein_performer.data.batches.row_rule import RowRule
from protein_performer.data.batches.sampler import BatchSampler
from protein_performer.data.objectives import Objective
from protein_performer.data.shards import StoredSplit
from protein_performer.data.workers import end_with_parent
from protein_performer.errors import UserError


class Rank(NamedTuple):
    """One process among those that train together.

    Attributes:
        number, world_size: which one, of how many.
        count_processed: how many batches the trainer has done, ever; None without a trainer.
    """

    number: int = 0
    world_size: int = 1
    count_processed: Callable[[], int] | None = None


class ResumableLoader(DataLoader[Batch | Failed]):
    """A loader that Lightning takes for resumable, as it is: its sampler starts anywhere.

    The position is the DataModule's to keep, so there is no state here; without `state_dict`
    Lightning warns that a run resumed midway may be unreliable.
    """

    sampler: BatchSampler

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Raises: UserError, whichever process found it."""
        return _checked(super().__iter__())

    def state_dict(self) -> dict[str, Any]:
        """Nothing; see `ProteinDataModule.state_dict`."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing; see `ProteinDataModule.load_state_dict`."""


def _checked(made: Iterator[Batch | Failed]) -> Iterator[Batch]:
    for each in made:
        if isinstance(each, Failed):
            raise UserError(each.message)
        yield each


@dataclass(frozen=True)
class Batching:
    """Plain and picklable.

    Attributes:
        objective: what is asked of the model.
        alphabet: that the proteins were encoded with.
        row_rule: what stands in a row.
        batch_tokens: the most tokens of a global batch, padding and special tokens included.
        bucket_ratio: longest over shortest row of a batch.
        seed: of order, windows and masks.
        evaluating: batches by length, the same for all models; else shuffled, new every epoch.
    """

    objective: Objective
    alphabet: Alphabet
    row_rule: RowRule
    batch_tokens: int
    bucket_ratio: float
    seed: int
    evaluating: bool

    def rows(self, split: StoredSplit) -> tuple[RowLayout, RowIndex]:
        """The rows of a split that is not empty."""
        return self.row_rule.rows(split, seed=self.seed, evaluating=self.evaluating)

    def order(self, length_counts: Ints, seed: int | None = None) -> BatchOrder:
        """The batches of rows.

        Args:
            length_counts: see `RowIndex`.
            seed: of the shuffle in training; None for `self.seed`.
        """
        buckets = make_buckets(
            length_counts,
            max_length=self.row_rule.max_length or len(length_counts),
            batch_tokens=self.batch_tokens,
            ratio=self.bucket_ratio,
        )
        shuffle = self.seed if seed is None else seed
        return BatchOrder(buckets, None if self.evaluating else shuffle)

    def batches(self, rows: RowLayout) -> Batches:
        """What makes the batches of laid-out rows."""
        return Batches(rows, self.alphabet, self.objective)

    def loader(
        self, split: StoredSplit, rank: Rank, *, num_workers: int, start: tuple[int, int] = (0, 0)
    ) -> ResumableLoader:
        """Batches of a stored split, for one rank, from (epoch, batch) on."""
        rows, index = self.rows(split)
        sampler = BatchSampler(
            self.order(index.length_counts),
            index.at,
            rank=rank.number,
            world_size=rank.world_size,
            start=start,
            count_processed=rank.count_processed or (lambda: 0),
        )
        return ResumableLoader(
            CaughtFailures(self.batches(rows)),
            batch_size=None,  # the sampler's items are whole batches
            sampler=sampler,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            worker_init_fn=end_with_parent,
        )
