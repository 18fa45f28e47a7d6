"""Stored proteins -> a batch: crop, add special tokens, pad, ask.

Shapes: B proteins, L positions.
"""

from hashlib import blake2b
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from protein_performer.alphabet import Alphabet
from protein_performer.batch import Batch
from protein_performer.data.objectives import Codes, Objective, Windows
from protein_performer.data.randomness import hash64
from protein_performer.data.sampler import BatchKey
from protein_performer.data.shards import StoredSplit

Crop = Literal["window", "start"]

_WINDOW = 3  # the purpose of a draw, beside those of the objectives


def lay_out(residues: list[Codes], starts: NDArray[np.int64], max_length: int) -> Codes:
    """Windows of proteins in rows: `<bos>`, residues, `<eos>` at a true end, `<pad>`.

    Args:
        residues: B arrays of the proteins' residues, whole.
        starts: (B,) where each window begins; 0 where the protein fits.
        max_length: residues of a window.

    Returns: (B, L) uint8.
    """
    stops = [
        min(len(each), start + max_length) for each, start in zip(residues, starts, strict=True)
    ]
    width = max(stop - start for start, stop in zip(starts, stops, strict=True)) + 2
    tokens = np.full((len(residues), width), Alphabet.pad, dtype=np.uint8)
    tokens[:, 0] = Alphabet.bos
    for row, each, start, stop in zip(tokens, residues, starts, stops, strict=True):
        row[1 : 1 + stop - start] = each[start:stop]
        if stop == len(each):
            row[1 + stop - start] = Alphabet.eos
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
        split: StoredSplit,
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
        windows = Windows(tokens, starts, keys, self.evaluating)
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
        if self.crop == "start":
            return np.zeros(len(residues), dtype=np.int64)
        lengths = np.array([len(each) for each in residues], dtype=np.int64)
        choices = np.maximum(lengths - self.max_length, 0) + 1
        return (hash64(keys, _WINDOW) % choices.astype(np.uint64)).astype(np.int64)
