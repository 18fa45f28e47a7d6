"""A user's mistake that a worker found, as the user should read it.

A `DataLoader` raises a worker's error with the worker's traceback for a message, and its own in
front. So a worker hands the message over as if it were a batch, and the trainer's process raises.
"""

from typing import NamedTuple

from torch.utils.data import Dataset

from protein_performer.batch import Batch
from protein_performer.data.batches.collate import Batches
from protein_performer.data.batches.sampler import BatchKey
from protein_performer.errors import UserError


class Failed(NamedTuple):
    """The message of a `UserError`."""

    message: str


class CaughtFailures(Dataset[Batch | Failed]):
    """The batches, or what is wrong with one."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __getitem__(self, key: BatchKey) -> Batch | Failed:
        try:
            return self.batches[key]
        except UserError as error:
            return Failed(str(error))
