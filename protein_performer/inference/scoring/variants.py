"""Variants of one protein: how much more or less likely each is than the wild type.

Shapes: N variants, L residues of the wild type, V vocabulary, B rows.
"""

import math
import sys
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from protein_performer.batch import IGNORE
from protein_performer.errors import UserError
from protein_performer.inference.batched_model import BatchedModel
from protein_performer.inference.batcher import Codes, PaddedRows
from protein_performer.inference.scoring.likelihood import (
    Cost,
    cost,
    log_probabilities,
    map_masked,
    score_codes,
)
from protein_performer.inference.scoring.mutations import Variant
from protein_performer.inference.scoring.shared_prefix import (
    group_by_prefix,
    prefix_log_ratios,
    tokens_of,
)

VariantMethod = Literal["log-ratio", "masked-marginal", "wild-type-marginal", "pseudo", "one-pass"]
OnPasses = Callable[[int], None]


def choose_variant_method(
    model: BatchedModel, method: VariantMethod | None = None
) -> VariantMethod:
    """The method asked for, or `log-ratio` of a causal model and `masked-marginal` of a masked one.

    Raises: UserError for one that the model does not have.
    """
    causal = model.checkpoint.task.needs_causal
    if method is None:
        return "log-ratio" if causal else "masked-marginal"
    known = get_args(VariantMethod)
    if method not in known:
        raise UserError(f"method: expected one of {', '.join(known)}, got {method!r}")
    if (method == "log-ratio") != causal:
        raise UserError(
            f"method {method!r}: a model of the next residue has `log-ratio`, one of masked"
            f" residues the others; this one was trained on {model.checkpoint.objective}"
        )
    return method


def variant_cost(
    model: BatchedModel, length: int, variants: Sequence[Variant], method: VariantMethod
) -> Cost:
    """What scoring variants of a protein of L residues takes."""
    whole = [length] * (len(variants) + 1)
    if method == "masked-marginal":
        positions = len({each.position for variant in variants for each in variant})
        return Cost(positions, positions * (length + 2))
    if method == "wild-type-marginal":
        return cost([length], "exact")
    if method == "log-ratio" and model.network.keeps_state:
        groups = group_by_prefix([_first(each) for each in variants], length, model.batch_tokens)
        return Cost(len(variants), tokens_of(groups, length))
    return cost(whole, "pseudo" if method == "pseudo" else "exact")


def score_variants(
    model: BatchedModel,
    wild_type: Codes,
    variants: Sequence[Variant],
    method: VariantMethod | None = None,
    *,
    on_passes: OnPasses = lambda passes: None,
) -> NDArray[np.float64]:
    """Score variants by the wild type's and their own likelihood, in nats; more is likelier.

    - `log-ratio`, of a causal model: log p(variant) - log p(wild type).
    - `masked-marginal`: sum over mutations of log p(mutant) - log p(wild), where the position is
      masked and all else is the wild type's. `wild-type-marginal`: the same where nothing is
      masked, one pass in all. Source: Meier et al. 2021, doi:10.1101/2021.07.09.450648, section
      "Zero-shot scoring" and the code beside it, which sums over single positions, as here, where
      the paper's formula masks all mutated ones at once.
    - `pseudo` and `one-pass`: the difference of pseudo-log-likelihoods; see
      `likelihood.score_codes`.

    A causal model reads what variants share with the wild type once, and goes on from its state,
    where its mechanism keeps one (`shared_prefix`).

    Args:
        wild_type: (L,) codes.
        variants: checked against the wild type (`mutations.check_variant`).
        method: None for `log-ratio` of a causal model, `masked-marginal` of a masked one.
        on_passes: called with the number of rows that were computed since the last call.

    Returns: (N,); 0 for a variant without mutations.
    """
    method = choose_variant_method(model, method)
    if method == "masked-marginal" or method == "wild-type-marginal":
        return _marginals(model, wild_type, variants, method, on_passes)
    mutants = [_mutate(model, wild_type, variant) for variant in variants]
    if method == "log-ratio" and model.network.keeps_state:
        firsts = [_first(each) for each in variants]
        return prefix_log_ratios(model, wild_type, mutants, firsts, on_passes)
    kind = "exact" if method == "log-ratio" else method
    wild, *others = score_codes(model, [wild_type, *mutants], kind, on_passes=on_passes)
    return np.array([each.log_likelihood - wild.log_likelihood for each in others])


def _marginals(
    model: BatchedModel,
    wild_type: Codes,
    variants: Sequence[Variant],
    method: VariantMethod,
    on_passes: OnPasses,
) -> NDArray[np.float64]:
    """Sums over mutations of log p(mutant) - log p(wild) at single positions."""
    positions = sorted({each.position for variant in variants for each in variant})
    if method == "masked-marginal":
        places = [(0, position) for position in positions]
        rows = map_masked(model, [wild_type], places, _rows_on_cpu, on_passes=on_passes)
        table = dict(zip(positions, rows, strict=True))
    else:
        (of_all,) = model.map_rows([wild_type], lambda rows: [_unmasked(model, rows)])
        table = {position: of_all[position] for position in positions}
        on_passes(1)
    code = {
        letter: model.alphabet.first_letter + i for i, letter in enumerate(model.alphabet.letters)
    }
    return np.array(
        [
            math.fsum(
                table[each.position][code[each.mutant]] - table[each.position][code[each.wild]]
                for each in variant
            )
            for variant in variants
        ]
    )


def _unmasked(model: BatchedModel, rows: PaddedRows) -> list[list[float]]:
    """Log-probabilities at the residues of one row that is read as it is."""
    residues = torch.where(rows.tokens >= model.alphabet.first_letter, rows.tokens, IGNORE)
    return _rows_on_cpu(*log_probabilities(model, rows.tokens, residues, rows.mask))


def _rows_on_cpu(log_p: Tensor, answers: Tensor) -> list[list[float]]:
    """(N, V) as N lists of V."""
    rows: list[list[float]] = log_p.double().cpu().tolist()
    return rows


def _first(variant: Variant) -> int:
    """The first mutated residue, from 0; beyond any protein if there is none."""
    return variant[0].position if variant else sys.maxsize


def _mutate(model: BatchedModel, wild_type: Codes, variant: Variant) -> Codes:
    codes = wild_type.copy()
    for mutation in variant:
        (codes[mutation.position],) = model.alphabet.encode(mutation.mutant)
    return codes
