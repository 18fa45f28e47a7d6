"""A file of variants to a file of their scores, and how well these agree with measurements."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protein_performer.alphabet import ResiduePolicy
from protein_performer.data.reading.sources import Source
from protein_performer.errors import UserError
from protein_performer.inference.batched_model import BatchedModel, aligned
from protein_performer.inference.bootstrap import bootstrap_interval
from protein_performer.inference.encoded_proteins import SourceCounts, read_proteins
from protein_performer.inference.row_file import writing_rows
from protein_performer.inference.scoring.likelihood import Cost
from protein_performer.inference.scoring.ranking import Ranks, auc, mcc, ndcg, spearman, top_recall
from protein_performer.inference.scoring.variant_file import VariantTable, read_variants
from protein_performer.inference.scoring.variants import (
    OnPasses,
    VariantMethod,
    choose_variant_method,
    score_variants,
    variant_cost,
)


def score_variant_file(
    model: BatchedModel,
    sources: Source | Sequence[Source],
    variants: Path,
    out: Path,
    *,
    method: VariantMethod | None = None,
    column: str | None = None,
    residue_policy: ResiduePolicy | None = None,
    overwrite: bool = False,
    on_cost: Callable[[Cost, int], None] = lambda cost, variants: None,
    on_passes: OnPasses = lambda passes: None,
) -> tuple[dict[str, Any], SourceCounts]:
    """Score the variants of one protein.

    Writes the columns `mutant`, `mutations` (their number), `score` (see `score_variants`), and the
    measurements under their own name, in the order of the file.

    Args:
        model: a loaded checkpoint.
        sources: of the wild type, one record.
        variants: see `read_variants`.
        out: see `row_file.writing_rows`.
        method: see `score_variants`.
        column: of the measurements; see `read_variants`.
        residue_policy: of characters outside the alphabet; None for the training's. `skip` counts
            as `unknown`: positions must stay what they are.
        on_cost: called once, with the cost and the number of variants, before the work.
        on_passes: see `score_variants`.

    Returns: `method`, `variants`, `passes` and `tokens`, and the figures of `agreement`; and what
        was read.
    Raises: UserError; see `read_variants`, and for sources of another number of records than one.
    """
    model.check_reads_proteins()
    method = choose_variant_method(model, method)
    counts = SourceCounts()
    policy = aligned(residue_policy or model.checkpoint.residue_policy)
    proteins = list(read_proteins(sources, model.alphabet, policy, counts))
    if len(proteins) != 1:
        raise UserError(
            f"{sources}: expected one record, the wild type of {variants}; got {len(proteins)}"
        )
    wild_type = proteins[0].codes
    table = read_variants(
        variants, model.alphabet.decode(wild_type), model.alphabet.letters, column
    )
    with writing_rows(out, overwrite=overwrite, metadata={"method": method}) as rows:
        cost = variant_cost(model, len(wild_type), table.variants, method)
        on_cost(cost, len(table.variants))
        scores = score_variants(model, wild_type, table.variants, method, on_passes=on_passes)
        rows.append(_columns(table, scores))
    figures = {"method": method, "variants": len(scores), **cost._asdict()}
    return {**figures, **agreement(table, scores)}, counts


def agreement(table: VariantTable, scores: NDArray[np.float64]) -> dict[str, Any]:
    """How well scores agree with measurements; empty without any.

    Returns: `measured` (the number of variants with a measurement, of which the rest is),
        `spearman`, `spearman_low` and `spearman_high` (its 95 % interval over resampled variants),
        `auc`, `mcc`, `ndcg`, `top_recall` (see `ranking`), and where `fit` is from. None stands for
        what is not defined.
    """
    known = ~np.isnan(table.measured)
    if not known.any():
        return {}
    measured, scores, fit = table.measured[known], scores[known], table.fit[known]
    ranks = Ranks.of(scores), Ranks.of(measured)
    low, high = bootstrap_interval(len(scores), lambda weights: spearman(*ranks, weights))
    figures = {
        "spearman": spearman(*ranks),
        "spearman_low": low,
        "spearman_high": high,
        "auc": auc(scores, fit),
        "mcc": mcc(scores, fit),
        "ndcg": ndcg(scores, measured),
        "top_recall": top_recall(scores, measured),
    }
    defined = {name: None if math.isnan(value) else value for name, value in figures.items()}
    return {"measured": len(scores), "fit": table.fit_column or "median", **defined}


def _columns(table: VariantTable, scores: NDArray[np.float64]) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "mutant": table.mutants,
        "mutations": [len(each) for each in table.variants],
        "score": scores,
    }
    return columns if table.column is None else {**columns, table.column: table.measured}
