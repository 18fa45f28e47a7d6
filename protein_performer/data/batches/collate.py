"""Rows of tokens -> a batch: ask, and hand over as tensors.

Shapes: B rows, L positions.
"""

from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from protein_performer.alphabet import Alphabet
from protein_performer.batch import Batch
from protein_performer.data.batches.layout import RowLayout
from protein_performer.data.batches.sampler import BatchKey
from protein_performer.data.objectives import Objective, Windows
from protein_performer.errors import UserError


class Batches(Dataset[Batch]):
    """Makes the batch of a `BatchKey`: a pure function of the key.

    Args:
        rows: what stands in the rows.
        alphabet: that they were encoded with.
        objective: what is asked.
    """

    def __init__(self, rows: RowLayout, alphabet: Alphabet, objective: Objective) -> None:
        self.rows = rows
        self.alphabet = alphabet
        self.objective = objective

    def __getitem__(self, key: BatchKey) -> Batch:
        tokens, keys = self.rows(key)
        windows = Windows(tokens, keys, self.rows.evaluating)
        inputs, targets = self.objective(windows, self.alphabet)
        return Batch(
            inputs=torch.from_numpy(inputs.astype(np.int64)),
            targets=torch.from_numpy(np.ascontiguousarray(targets)),
            mask=torch.from_numpy(inputs != self.alphabet.pad),
            records=torch.from_numpy(key.records),
        )


class Failed(NamedTuple):
    """The message of a `UserError` that a worker found, handed over as if it were a batch.

    A `DataLoader` raises a worker's error with the worker's traceback for a message, and its own in
    front. So the trainer's process raises it anew, as the user should read it.
    """

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


def _from_arrays(*arrays: NDArray[Any]) -> Batch:
    return Batch(*map(torch.from_numpy, arrays))


def _as_arrays(batch: Batch) -> tuple[Callable[..., Batch], tuple[NDArray[Any], ...]]:
    """How a batch goes from a worker to the trainer: as bytes.

    PyTorch shares each tensor as a file of its own, which costs more than making the whole batch.
    """
    return _from_arrays, tuple(tensor.numpy() for tensor in batch)


ForkingPickler.register(Batch, _as_arrays)
