"""What a probe sees of proteins: a model's states, or what needs no model.

Shapes: N sequences, L_i residues of sequence i, A letters of the alphabet, E model width, K layers.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from protein_performer.alphabet import Alphabet
from protein_performer.inference.batched_model import BatchedModel
from protein_performer.inference.batcher import Codes
from protein_performer.inference.embedding.embedding import embed_codes
from protein_performer.inference.embedding.pooling import Pooling
from protein_performer.inference.encoded_proteins import CHUNK_RECORDS
from protein_performer.model.build import build_model

RADIUS = 6  # residues on each side of a window: 13 in all, as Qian and Sejnowski 1988 have it

Matrix = NDArray[np.float32]
Features = Callable[[Sequence[Codes]], list[Matrix]]  # (1, F) of each sequence, or (L_i, F)


def composition(alphabet: Alphabet, *, per_residue: bool) -> Features:
    """The share of each letter, (1, A); for every residue of the protein the same, (L_i, A)."""

    def of(codes: Codes) -> Matrix:
        counts = np.bincount(codes - alphabet.first_letter, minlength=len(alphabet.letters))
        shares = (counts / len(codes)).astype(np.float32)
        return np.tile(shares, (len(codes) if per_residue else 1, 1))

    return lambda many: [of(codes) for codes in many]


def one_hot_window(alphabet: Alphabet, radius: int = RADIUS) -> Features:
    """(L_i, (2 radius + 1) A): the letters around each residue; zeros beyond the ends."""

    def of(codes: Codes) -> Matrix:
        letters = np.pad(_one_hot(codes, alphabet), ((radius, radius), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(letters, 2 * radius + 1, axis=0)
        return windows.reshape(len(codes), -1)

    return lambda many: [of(codes) for codes in many]


def one_hot_sites(alphabet: Alphabet, sites: NDArray[np.intp]) -> Features:
    """(1, sites A): the letters at some positions of each sequence."""
    return lambda many: [_one_hot(codes[sites], alphabet).reshape(1, -1) for codes in many]


def states(
    model: BatchedModel, pooling: Pooling, layers: Sequence[int], window: int | None
) -> Features:
    """(1, K E) or, with `residue`, (L_i, K E): see `embed_codes`; layers stand side by side."""

    def of(many: Sequence[Codes]) -> list[Matrix]:
        embedded = embed_codes(model, many, pooling, layers, window=window)
        joined = [torch.cat(each, dim=-1) for each in embedded if each is not None]
        return [each.reshape(-1, each.shape[-1]).numpy() for each in joined]

    return of


def states_at_sites(
    model: BatchedModel, sites: NDArray[np.intp], layers: Sequence[int], window: int | None
) -> Features:
    """(1, sites K E): the states at some positions of each sequence, side by side."""
    residues = states(model, "residue", layers, window)

    def of(many: Sequence[Codes]) -> list[Matrix]:
        found = []
        for begin in range(0, len(many), CHUNK_RECORDS):  # the states of all would be too many
            chunk = residues(many[begin : begin + CHUNK_RECORDS])
            found += [each[sites].reshape(1, -1) for each in chunk]
        return found

    return of


def differing_sites(codes: Sequence[Codes]) -> NDArray[np.intp] | None:
    """The positions at which sequences of one length differ; None if their lengths do."""
    if len({len(each) for each in codes}) != 1:
        return None
    together = np.stack(codes)
    return np.flatnonzero((together != together[0]).any(axis=0))


def untrained(model: BatchedModel, seed: int, trusted_packages: Sequence[str] = ()) -> BatchedModel:
    """A model of the same config with the weights that training would start from.

    Args:
        model: a loaded checkpoint.
        seed: of the weights; FAVOR+'s random features are the checkpoint's.
        trusted_packages: see `build_model`.
    """
    checkpoint = model.checkpoint
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = build_model(
            checkpoint.model_config, len(model.alphabet), trusted_packages=trusted_packages
        )
    return BatchedModel(
        replace(checkpoint, model=fresh),
        model.device,
        precision=model.precision,
        batch_tokens=model.batch_tokens,
    )


def _one_hot(codes: Codes, alphabet: Alphabet) -> Matrix:
    letters = np.eye(len(alphabet.letters), dtype=np.float32)
    return letters[codes - alphabet.first_letter]
