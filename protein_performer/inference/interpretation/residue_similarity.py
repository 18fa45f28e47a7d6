"""Which residues a model's heads treat alike, beside BLOSUM62.

Source: Vig et al. 2020, arXiv:2006.15222, section 4.2 and the authors' code; the Performer paper
shows the same of Performers (Choromanski et al. 2021, arXiv:2009.14794, appendix C.4) and gives no
figure. For each head the share of its attention that goes to residues of each kind; the similarity
of two kinds is Pearson's correlation of their shares over heads.

Differs from Vig et al.: they drop entries of at most 0.1 before summing. Linear attention spreads
over many small entries, so the threshold is 0 here unless another is asked for; and a threshold
needs the matrices themselves, whose cost grows with the square of the length.

Shapes: A the 20 standard residues, P heads of all layers, L residues.
"""

from typing import NamedTuple

import numpy as np
import torch
from Bio.Align import substitution_matrices
from numpy.typing import NDArray
from torch import Tensor

from protein_performer.errors import UserError
from protein_performer.inference.batched_model import BatchedModel
from protein_performer.inference.batcher import Codes
from protein_performer.inference.interpretation.attention_maps import (
    attention_maps,
    attention_to_kinds,
    map_projections,
)

Matrix = NDArray[np.float64]


class Similarity(NamedTuple):
    """What heads say of pairs of residues.

    Attributes:
        letters: of rows and columns.
        similarity: (A, A), Pearson's correlation over heads; NaN with a residue whose share is
            the same in all heads, such as one that occurs in no protein.
        blosum: (A, A), BLOSUM62.
        correlation: Pearson's, of the pairs of different residues in both.
        p_value: share of permutations of the letters whose correlation is at least as large.
        heads: that were used.
        proteins: whose attention was summed.
    """

    letters: str
    similarity: Matrix
    blosum: Matrix
    correlation: float
    p_value: float
    heads: int
    proteins: int


def residue_similarity(
    model: BatchedModel,
    codes: list[Codes],
    *,
    threshold: float = 0.0,
    least_weight: float = 100.0,
    permutations: int = 9999,
    seed: int = 0,
) -> Similarity:
    """Sum the attention of proteins and compare it with BLOSUM62.

    Args:
        codes: proteins.
        threshold: entries of the matrices up to this count as 0.
        least_weight: heads with less attention between residues in all are left out.
        permutations: of the letters, for the p-value.
        seed: of these.

    Raises: UserError if fewer than three heads are left.
    """
    weights = _weights(model, codes, threshold)  # (P, letters)
    totals = weights.sum(1)
    used = weights[totals >= least_weight]
    if len(used) < 3:
        raise UserError(
            f"similarity: expected at least 3 heads with an attention of {least_weight:g} between"
            f" residues, got {len(used)} of {len(weights)}. Give more proteins, or another model:"
            " two figures always lie on a line."
        )
    standard = len(model.alphabet.standard)
    shares = (used / used.sum(1, keepdims=True))[:, :standard]
    with np.errstate(invalid="ignore"):  # of a residue without variation; see `Similarity`
        similarity = np.corrcoef(shares.T)
    blosum = blosum62(model.alphabet.standard)
    correlation = _of_pairs(similarity, blosum)
    random = np.random.default_rng(seed)
    orders = (random.permutation(standard) for _ in range(permutations))
    as_large = sum(
        _of_pairs(similarity, blosum[np.ix_(order, order)]) >= correlation for order in orders
    )
    return Similarity(
        model.alphabet.standard,
        similarity,
        blosum,
        correlation,
        (1 + as_large) / (1 + permutations),
        len(used),
        len(codes),
    )


def blosum62(letters: str) -> Matrix:
    """(A, A): the scores of BLOSUM62 (Henikoff and Henikoff 1992), from Biopython."""
    scores = substitution_matrices.load("BLOSUM62")  # type: ignore[no-untyped-call]
    return np.array([[scores[a][b] for b in letters] for a in letters], dtype=np.float64)


def _weights(model: BatchedModel, codes: list[Codes], threshold: float) -> Matrix:
    """(P, letters): attention that residues of each kind get from residues, by head."""
    if threshold == 0:
        of_batches = map_projections(model, codes, lambda rows: attention_to_kinds(model, rows))
        total = torch.stack(of_batches).sum(0)
    else:
        total = torch.stack([_above(model, each, threshold) for each in codes]).sum(0)
    weights: Matrix = total.flatten(0, 1).numpy()
    return weights


def _above(model: BatchedModel, codes: Codes, threshold: float) -> Tensor:
    """(layers, H, letters) of one protein, from its matrices."""
    inner = slice(1, 1 + len(codes))
    maps = attention_maps(model, codes)[..., inner, inner].double()
    given = maps.where(maps > threshold, 0.0).sum(-2)  # to each residue
    letters = torch.tensor(codes.tolist()) - model.alphabet.first_letter
    totals = given.new_zeros(*given.shape[:-1], len(model.alphabet.letters))
    return totals.index_add_(-1, letters, given)


def _of_pairs(one: Matrix, other: Matrix) -> float:
    """Pearson's correlation of the entries below the diagonals, as far as `one` has them."""
    below = np.tril_indices(len(one), -1)
    known = np.isfinite(one[below])
    return float(np.corrcoef(one[below][known], other[below][known])[0, 1])
