"""Accuracy and perplexity of a checkpoint on any proteins, without a training run.

The same questions as a run's own test: masks follow from a protein's content, so a protein is asked
the same in every file, beside any others.
"""

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
from protein_performer.metrics import ResidueMetrics


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
    on_progress: OnProgress = lambda counts, total: None,
) -> tuple[dict[str, float | int], EvaluationCounts]:
    """Score every protein of a source by the objective that the checkpoint was trained on.

    Args:
        model: a loaded checkpoint.
        sources: what `read_records` takes.
        max_length: residues of a protein that are scored, from its start; None for all.
        eval_seed: of masks; a run's own test uses `data.eval_seed`, 0 by default.
        residue_policy: of characters outside the alphabet; None for the training's.
        on_progress: see `OnProgress`.

    Returns: `accuracy`, `loss`, `perplexity`, `residues`, and `empirical_accuracy` and
        `empirical_perplexity` of the training set's residue frequencies on the same targets; and
        what was read.
    Raises: UserError for a model of text, and for a source that cannot be read or has no protein.
    """
    model.check_reads_proteins()
    counts = EvaluationCounts()
    metrics = ResidueMetrics(len(model.alphabet), model.alphabet.first_letter)
    policy = residue_policy or model.checkpoint.residue_policy
    sources = [sources] if isinstance(sources, str) else sources
    total = None
    if can_be_read_twice(sources):  # so that what cannot be read is found before the work
        total = sum(1 for _ in read_proteins(sources, model.alphabet, policy, SourceCounts()))
    for chunk in in_chunks(read_proteins(sources, model.alphabet, policy, counts)):
        proteins = _Proteins(protein.codes for protein in chunk)
        _score(model, proteins, metrics, max_length or max(map(len, proteins)), eval_seed)
        cut = [len(p) - max_length for p in proteins if max_length and len(p) > max_length]
        counts.cut += len(cut)
        counts.cut_residues += sum(cut)
        on_progress(counts, total)
    figures: dict[str, float | int] = {k: v.item() for k, v in metrics.compute().items()}
    baseline = EmpiricalBaseline(torch.tensor(model.checkpoint.residue_counts))
    scores = baseline.score(metrics.target_counts)
    figures.update({f"empirical_{name}": value for name, value in scores.items()})
    return figures, counts


def _score(
    model: BatchedModel,
    proteins: _Proteins,
    metrics: ResidueMetrics,
    max_length: int,
    eval_seed: int,
) -> None:
    rows = ProteinRows(
        proteins, max_length=max_length, crop="start", seed=eval_seed, evaluating=True
    )
    batches = Batches(rows, model.alphabet, model.checkpoint.task)

    def compute(members: list[int]) -> list[None]:
        batch = Batch(*(x.to(model.device) for x in batches[BatchKey(0, np.array(members))]))
        logits, targets = model.network.scored_logits(batch)
        metrics.update(logits.cpu(), targets.cpu())
        return [None] * len(members)

    model.map_batches([min(len(each), max_length) for each in proteins], compute)


def report_lines(figures: Mapping[str, Any], counts: EvaluationCounts) -> Iterator[str]:
    """What was scored, and everything that was cut, replaced or left out."""
    yield (
        f"{counts.proteins:,} proteins, {figures['residues']:,} residues scored: accuracy"
        f" {100 * figures['accuracy']:.2f} %, perplexity {figures['perplexity']:.3f}"
    )
    yield (
        f"empirical baseline on the same residues: accuracy"
        f" {100 * figures['empirical_accuracy']:.2f} %, perplexity"
        f" {figures['empirical_perplexity']:.3f}"
    )
    if counts.cut:
        yield f"{counts.cut:,} proteins cut, {counts.cut_residues:,} residues not scored"
    yield from (f"warning: {warning}" for warning in counts.warnings())
