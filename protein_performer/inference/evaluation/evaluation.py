"""Accuracy and perplexity of a checkpoint on any proteins, without a training run.

The same questions as a run's own test: masks follow from a protein's content, so a protein is asked
the same in every file, beside any others.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from protein_performer.alphabet import ResiduePolicy
from protein_performer.baselines import EmpiricalBaseline
from protein_performer.batch import Batch
from protein_performer.data.batches.collate import Batches
from protein_performer.data.batches.proteins import ProteinRows
from protein_performer.data.batches.sampler import BatchKey
from protein_performer.data.objectives import Codes
from protein_performer.inference.batched_model import BatchedModel
from protein_performer.inference.encoded_proteins import (
    SourceCounts,
    can_be_read_twice,
    in_chunks,
    read_proteins,
)
from protein_performer.inference.evaluation.evaluation_sums import EvaluationSums
from protein_performer.ngram import NGrams


@dataclass
class EvaluationCounts(SourceCounts):
    """What was read, and how much of it was scored.

    Attributes:
        cut: proteins longer than the limit, of which the start was scored.
        cut_residues: residues of these beyond the limit.
    """

    cut: int = 0
    cut_residues: int = 0


# Called after each chunk with what was scored so far, and all proteins if their number is known.
OnProgress = Callable[[EvaluationCounts, int | None], None]


class _Proteins(list[Codes]):
    """Proteins in memory, in the form in which `ProteinRows` asks for them."""

    def residues(self, index: int) -> Codes:
        return self[index]


def evaluate_source(
    model: BatchedModel,
    sources: str | Sequence[str],
    *,
    max_length: int | None = None,
    eval_seed: int = 0,
    residue_policy: ResiduePolicy | None = None,
    ngrams: NGrams | None = None,
    on_progress: OnProgress = lambda counts, total: None,
) -> tuple[EvaluationSums, EvaluationCounts]:
    """Score every protein of a source by the objective that the checkpoint was trained on.

    Args:
        model: a loaded checkpoint.
        sources: what `read_records` takes.
        max_length: residues of a protein that are scored, from its start; None for all.
        eval_seed: of masks; a run's own test uses `data.eval_seed`, 0 by default.
        residue_policy: of characters outside the alphabet; None for the training's.
        ngrams: of the training set, to score the same residues; see `training_ngrams`.
        on_progress: see `OnProgress`.

    Returns: the sums, whose `figures` are model and baselines on the same residues; and what was
        read.
    Raises: UserError for a model of text, and for a source that cannot be read or has no protein.
    """
    model.check_reads_proteins()
    counts = EvaluationCounts()
    sums = EvaluationSums(
        model.alphabet,
        EmpiricalBaseline(torch.tensor(model.checkpoint.residue_counts)),
        ngrams,
        next_token=model.checkpoint.task.needs_causal,
    )
    policy = residue_policy or model.checkpoint.residue_policy
    sources = [sources] if isinstance(sources, str) else sources
    total = None
    if can_be_read_twice(sources):  # so that what cannot be read is found before the work
        total = sum(1 for _ in read_proteins(sources, model.alphabet, policy, SourceCounts()))
    for chunk in in_chunks(read_proteins(sources, model.alphabet, policy, counts)):
        proteins = _Proteins(protein.codes for protein in chunk)
        _score(model, proteins, sums, max_length or max(map(len, proteins)), eval_seed)
        cut = [len(p) - max_length for p in proteins if max_length and len(p) > max_length]
        counts.cut += len(cut)
        counts.cut_residues += sum(cut)
        on_progress(counts, total)
    return sums, counts


def _score(
    model: BatchedModel,
    proteins: _Proteins,
    sums: EvaluationSums,
    max_length: int,
    eval_seed: int,
) -> None:
    rows = ProteinRows(
        proteins, max_length=max_length, crop="start", seed=eval_seed, evaluating=True
    )
    batches = Batches(rows, model.alphabet, model.checkpoint.task)

    def compute(members: list[int]) -> list[None]:
        batch = batches[BatchKey(0, np.array(members))]
        on_device = Batch(*(x.to(model.device) for x in batch))
        logits, _ = model.network.scored_logits(on_device)
        sums.update(logits.cpu(), batch)
        return [None] * len(members)

    model.map_batches([min(len(each), max_length) for each in proteins], compute)


def report_lines(figures: Mapping[str, Any], counts: EvaluationCounts) -> Iterator[str]:
    """What was scored, and everything that was cut, replaced or left out."""
    yield from figure_lines(figures)
    if counts.cut:
        yield f"{counts.cut:,} proteins cut, {counts.cut_residues:,} residues not scored"
    yield from (f"warning: {warning}" for warning in counts.warnings())


def figure_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """Model and baselines; in brackets 95 % intervals over resampled proteins."""
    yield (
        f"{figures['proteins']:,} proteins, {figures['residues']:,} residues scored: accuracy"
        f" {_with_interval(figures, 'accuracy', '.2%')}, perplexity"
        f" {_with_interval(figures, 'perplexity')}, calibration error"
        f" {figures['calibration_error']:.2%}"
    )
    yield (
        f"empirical baseline on the same residues: accuracy {figures['empirical_accuracy']:.2%},"
        f" perplexity {figures['empirical_perplexity']:.3f}; the model's is"
        f" {_with_interval(figures, 'perplexity_of_empirical')} of it"
    )
    if "ngram_order" in figures:
        orders = ", ".join(f"{each:.3f}" for each in figures["ngram_perplexity"])
        yield (
            f"n-grams of the training set, orders 1 to {len(figures['ngram_perplexity'])}:"
            f" perplexity {orders}; the model's is"
            f" {_with_interval(figures, 'perplexity_of_ngram')} of order"
            f" {figures['ngram_order']}'s"
        )


def _with_interval(figures: Mapping[str, Any], name: str, form: str = ".3f") -> str:
    low, high = figures[f"{name}_low"], figures[f"{name}_high"]
    if math.isnan(low):  # of a single protein
        return f"{figures[name]:{form}}"
    return f"{figures[name]:{form}} ({low:{form}} to {high:{form}})"
