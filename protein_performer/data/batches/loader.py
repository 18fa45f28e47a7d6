"""What the trainer takes batches of stored proteins from."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from protein_performer.batch import Batch
from protein_performer.data.batches.failure import Failed
from protein_performer.data.batches.sampler import BatchSampler
from protein_performer.errors import UserError


class ResumableLoader(DataLoader[Batch | Failed]):
    """A loader that Lightning takes for resumable, as it is: its sampler starts anywhere.

    The position is the DataModule's to keep, so there is no state here; without `state_dict`
    Lightning warns that a run resumed midway may be unreliable.
    """

    sampler: BatchSampler

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Raises: UserError, whichever process found it."""
        return _checked(super().__iter__())

    def position(self) -> tuple[int, int]:
        """See `BatchSampler.position`."""
        return self.sampler.position()

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
