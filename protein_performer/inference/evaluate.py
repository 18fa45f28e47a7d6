"""Accuracy and perplexity of a checkpoint on any proteins, without a training run.

The same questions as a run's own test: masks follow from a protein's content, so a protein is asked
the same in every file, beside any others.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch

from protein_performer.alphabet import ResidueCounts
from protein_performer.baselines import EmpiricalBaseline
from protein_performer.batch import Batch
from protein_performer.data.batches.collate import Batches
from protein_performer.data.batches.proteins import ProteinRows
from protein_performer.data.batches.sampler import BatchKey
from protein_performer.data.objectives import Codes
from protein_performer.data.reading.records import ReadCounts, Record, read_records
from protein_performer.errors import UserError
from protein_performer.inference.trained_model import BATCH_TOKENS, TrainedModel, by_length
from protein_performer.metrics import ResidueMetrics

_RECORDS_AT_ONCE = 1024


@dataclass
class EvaluationCounts:
    """What was read.

    Attributes:
        proteins: scored.
        cut: proteins longer than the limit, of which the start was scored.
        cut_residues: residues of these beyond the limit.
        letters: what the alphabet met.
        reading: what the reader met.
    """

    proteins: int
    cut: int
    cut_residues: int
    letters: ResidueCounts
    reading: ReadCounts


class _Proteins(list[Codes]):
    """Proteins in memory, in the form in which `ProteinRows` asks for them."""

    def residues(self, index: int) -> Codes:
        return self[index]


def evaluate_source(
    model: TrainedModel, source: str, *, max_length: int | None = None, eval_seed: int = 0
) -> tuple[dict[str, float | int], EvaluationCounts]:
    """Score every protein of a source by the objective that the checkpoint was trained on.

    Args:
        model: a loaded checkpoint.
        source: what `read_records` takes.
        max_length: residues of a protein that are scored, from its start; None for all.
        eval_seed: of masks; a run's own test uses `data.eval_seed`, 0 by default.

    Returns: `accuracy`, `loss`, `perplexity`, `residues`, and `empirical_accuracy` and
        `empirical_perplexity` of the training set's residue frequencies on the same targets; and
        what was read.
    Raises: UserError for a model of text, and for a source that cannot be read or has no protein.
    """
    model.check_reads_proteins()
    counts = EvaluationCounts(0, 0, 0, ResidueCounts(), ReadCounts())
    metrics = ResidueMetrics(len(model.alphabet), model.alphabet.first_letter)
    for proteins in _encoded(model, read_records(source, counts=counts.reading), counts):
        _score(model, proteins, metrics, max_length or max(map(len, proteins)), eval_seed)
        counts.proteins += len(proteins)
        cut = [len(p) - max_length for p in proteins if max_length and len(p) > max_length]
        counts.cut += len(cut)
        counts.cut_residues += sum(cut)
    if not counts.proteins:
        raise UserError(f"{source}: expected proteins, found none")
    figures: dict[str, float | int] = {k: v.item() for k, v in metrics.compute().items()}
    baseline = EmpiricalBaseline(torch.tensor(model.checkpoint.residue_counts))
    scores = baseline.score(metrics.target_counts)
    figures.update({f"empirical_{name}": value for name, value in scores.items()})
    return figures, counts


@torch.inference_mode()
def _score(
    model: TrainedModel,
    proteins: _Proteins,
    metrics: ResidueMetrics,
    max_length: int,
    eval_seed: int,
) -> None:
    rows = ProteinRows(
        proteins, max_length=max_length, crop="start", seed=eval_seed, evaluating=True
    )
    batches = Batches(rows, model.alphabet, model.checkpoint.task)
    lengths = [min(len(each), max_length) for each in proteins]
    for members in by_length(lengths, BATCH_TOKENS):
        batch = batches[BatchKey(0, np.array(members))]
        logits, targets = model.network.scored_logits(Batch(*(x.to(model.device) for x in batch)))
        metrics.update(logits.cpu(), targets.cpu())


def _encoded(
    model: TrainedModel, records: Iterator[Record], counts: EvaluationCounts
) -> Iterator[_Proteins]:
    """Chunks of encoded proteins; those that the policy leaves empty are counted as such."""
    policy = model.checkpoint.residue_policy
    while chunk := list(islice(records, _RECORDS_AT_ONCE)):
        encoded = _Proteins(
            model.alphabet.encode(
                record.sequence, policy, counts=counts.letters, where=record.accession
            )
            for record in chunk
        )
        counts.reading.empty += sum(not len(each) for each in encoded)
        kept = _Proteins(each for each in encoded if len(each))
        if kept:
            yield kept


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
    if counts.letters.unknown:
        yield f"{counts.letters.unknown:,} characters outside the alphabet read as unknown"
    if counts.letters.skipped:
        yield f"{counts.letters.skipped:,} characters outside the alphabet left out"
    yield from (f"warning: {warning}" for warning in counts.reading.warnings())
