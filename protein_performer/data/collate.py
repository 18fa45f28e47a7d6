"""Stored proteins -> a batch: crop, add special tokens, pad, ask.

Shapes: B proteins, L positions.
"""

from hashlib import blake2b
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from protein_performer.alphabet import Alphabet
from protein_performer.batch import Batch
from protein_performer.data.objectives import WINDOW, Codes, Objective, Windows
from protein_performer.data.randomness import draws, hash64
from protein_performer.data.sampler import BatchKey

Crop = Literal["window", "start"]


class Proteins(Protocol):
    """Encoded proteins by index, on disk (`StoredSplit`) or in memory."""

    def __len__(self) -> int:
        """Number of proteins."""
        ...

    def residues(self, index: int) -> Codes:
        """All residues of a protein, (L,) uint8."""
        ...


def lay_out(residues: list[Codes], starts: NDArray[np.int64], max_length: int) -> Codes:
    """Windows of proteins in rows: `<bos>`, residues, `<eos>` at a true end, `<pad>`.

    Args:
        residues: B arrays of the proteins' residues, whole.
        starts: (B,) where each window begins; 0 where the protein fits.
        max_length: residues of a window.

    Returns: (B, L) uint8.
    """
    lengths = np.fromiter(map(len, residues), np.int64, len(residues))
    shown = np.minimum(lengths - starts, max_length)
    ends = starts + shown == lengths
    tokens = np.full((len(residues), int((shown + ends).max()) + 1), Alphabet.pad, dtype=np.uint8)
    tokens[:, 0] = Alphabet.bos
    tokens[np.flatnonzero(ends), shown[ends] + 1] = Alphabet.eos
    for row, each, start, count in zip(
        tokens, residues, starts.tolist(), shown.tolist(), strict=True
    ):
        row[1 : 1 + count] = each[start : start + count]
    return tokens


class Batches(Dataset[Batch]):
    """Makes the batch of a `BatchKey`: a pure function of the key.

    Args:
        split: where the proteins lie.
        alphabet: that they were encoded with.
        objective: what is asked.
        max_length: residues of a protein that enter a batch.
        crop: of longer ones take a `window` at a random place, another one each epoch, or the
            `start`.
        seed: of windows and masks.
        evaluating: random numbers follow from the protein's content instead of its index and
            the epoch, and windows are starts: all models, batch sizes and runs meet the same
            questions, also when the proteins stand in another file.
    """

    def __init__(
        self,
        split: Proteins,
        alphabet: Alphabet,
        objective: Objective,
        *,
        max_length: int,
        crop: Crop,
        seed: int,
        evaluating: bool,
    ) -> None:
        self.split = split
        self.alphabet = alphabet
        self.objective = objective
        self.max_length = max_length
        self.crop = "start" if evaluating else crop
        self.seed = seed
        self.evaluating = evaluating

    def __len__(self) -> int:
        """Proteins of the split."""
        return len(self.split)

    def __getitem__(self, key: BatchKey) -> Batch:
        residues = [self.split.residues(int(record)) for record in key.records]
        keys = self._random_keys(key, residues)
        starts = self._starts(residues, keys)
        tokens = lay_out(residues, starts, self.max_length)
        windows = Windows(tokens, keys, self.evaluating)
        inputs, targets = self.objective(windows, self.alphabet)
        mask = inputs != self.alphabet.pad
        return Batch(
            inputs=torch.from_numpy(inputs.astype(np.int64)),
            targets=torch.from_numpy(np.ascontiguousarray(targets)),
            mask=torch.from_numpy(mask),
            records=torch.from_numpy(key.records),
        )

    def _random_keys(self, key: BatchKey, residues: list[Codes]) -> NDArray[np.uint64]:
        if not self.evaluating:
            return hash64(self.seed, key.epoch, key.records)
        digests = [blake2b(each.tobytes(), digest_size=8).digest() for each in residues]
        return hash64(self.seed, np.frombuffer(b"".join(digests), dtype="<u8"))

    def _starts(self, residues: list[Codes], keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        lengths = np.fromiter(map(len, residues), np.int64, len(residues))
        choices = np.maximum(lengths - self.max_length, 0) + 1
        if self.crop == "start" or choices.max() == 1:
            return np.zeros(len(residues), dtype=np.int64)
        lots = draws(keys, np.array([WINDOW]))
        return (lots % choices.astype(np.uint64)).astype(np.int64)
