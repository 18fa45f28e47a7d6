"""What evaluation adds up, protein by protein, and the figures that follow.

Shapes: N scored letters, P proteins, V vocabulary, A letters, n orders of n-grams.
"""

import copy
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from protein_performer.alphabet import Alphabet
from protein_performer.baselines import EmpiricalBaseline
from protein_performer.batch import IGNORE, Batch
from protein_performer.inference.bootstrap import Weights, bootstrap_interval
from protein_performer.inference.evaluation.training_ngrams import log_probabilities
from protein_performer.metrics import ResidueMetrics
from protein_performer.ngram import NGrams

CALIBRATION_BINS = 100

# Columns of what is summed over each protein; those of n-grams come last, an order each.
_NLL, _CORRECT, _COUNT, _EMPIRICAL, _NGRAMS = range(5)


class EvaluationSums:
    """Sums over the letters that were scored; they add up over batches and files.

    Args:
        alphabet: of the model.
        baseline: of the training set's frequencies.
        ngrams: of the training set, or None.
        next_token: whether column i of a batch is scored against token i + 1.
    """

    def __init__(
        self,
        alphabet: Alphabet,
        baseline: EmpiricalBaseline,
        ngrams: NGrams | None,
        *,
        next_token: bool,
    ) -> None:
        self.alphabet = alphabet
        self.baseline = baseline
        self.ngrams = ngrams
        self.next_token = next_token
        self.metrics = ResidueMetrics(
            len(alphabet), alphabet.first_letter, compute_with_cache=False
        )
        self.letter_nll = torch.zeros(len(alphabet), dtype=torch.float64)
        self.calibration = torch.zeros(CALIBRATION_BINS, 2, dtype=torch.float64)
        self.ngram_correct = np.zeros(ngrams.order if ngrams else 0, np.int64)
        self.proteins: list[NDArray[np.float64]] = []  # (P, columns) of each batch

    def update(self, logits: Tensor, batch: Batch) -> None:
        """Add a batch.

        Args:
            logits: (N + specials, V), of every target.
            batch: both on the CPU; a row is a protein.
        """
        row = (batch.targets != IGNORE).nonzero()[:, 0]
        targets = batch.targets[batch.targets != IGNORE]
        self.metrics.update(logits, targets)
        scored = targets >= self.alphabet.first_letter
        row, targets = row[scored], targets[scored]
        log_p = torch.log_softmax(logits[scored].float(), -1)
        nll = -log_p.gather(1, targets[:, None])[:, 0].double()
        confidence, predicted = log_p.exp().double().max(-1)
        correct = (predicted == targets).double()
        self.letter_nll.index_add_(0, targets, nll)
        bins = (confidence * CALIBRATION_BINS).long().clamp_max(CALIBRATION_BINS - 1)
        self.calibration.index_add_(0, bins, torch.stack([correct, confidence], 1))
        empirical = -self.baseline.log_probabilities[targets]
        columns = [nll, correct, torch.ones_like(nll), empirical, *self._of_ngrams(batch, targets)]
        sums = torch.zeros(len(batch.inputs), len(columns), dtype=torch.float64)
        self.proteins.append(sums.index_add_(0, row, torch.stack(columns, 1)).numpy())

    def _of_ngrams(self, batch: Batch, targets: Tensor) -> list[Tensor]:
        """(N,) negative log-likelihoods, an order each."""
        if self.ngrams is None:
            return []
        log_p = log_probabilities(self.ngrams, batch, next_token=self.next_token)
        letters = targets.numpy() - self.alphabet.first_letter
        self.ngram_correct += (log_p.argmax(-1) == letters).sum(1)
        return list(torch.from_numpy(-log_p[:, np.arange(len(letters)), letters]))

    def __add__(self, other: "EvaluationSums") -> "EvaluationSums":
        """Of both, which are of the same model and baselines."""
        both = EvaluationSums(self.alphabet, self.baseline, self.ngrams, next_token=self.next_token)
        both.metrics = copy.deepcopy(self.metrics)
        both.metrics.nll += other.metrics.nll
        both.metrics.confusion += other.metrics.confusion
        both.letter_nll = self.letter_nll + other.letter_nll
        both.calibration = self.calibration + other.calibration
        both.ngram_correct = self.ngram_correct + other.ngram_correct
        both.proteins = self.proteins + other.proteins
        return both

    def figures(self) -> dict[str, Any]:
        """Ratios of the sums.

        Returns: `accuracy`, `loss`, `perplexity`, `residues`, `proteins`; `empirical_accuracy` and
            `empirical_perplexity` of the training set's frequencies, and lists `ngram_accuracy` and
            `ngram_perplexity` of its n-grams, order 1 first, on the same residues;
            `perplexity_of_empirical` and `perplexity_of_ngram`, the model's perplexity over these
            (of n-grams the best order on these residues, `ngram_order`). Of accuracy, perplexity
            and the two ratios also `_low` and `_high`, the 95 % interval over resampled proteins.
            `calibration_error`: see `calibration_error`. `per_residue`: see `per_residue`.
        """
        figures: dict[str, Any] = {k: v.item() for k, v in self.metrics.compute().items()}
        scores = self.baseline.score(self.metrics.target_counts)
        figures.update({f"empirical_{name}": value for name, value in scores.items()})
        table = np.concatenate(self.proteins)
        table = table[np.lexsort(table.T)]  # intervals do not depend on batches
        figures["proteins"] = len(table)
        figures["calibration_error"] = self.calibration_error()
        figures.update(_with_interval("accuracy", table, lambda t: t[_CORRECT] / t[_COUNT]))
        figures.update(_with_interval("perplexity", table, lambda t: math.exp(t[_NLL] / t[_COUNT])))
        figures.update(_ratio("perplexity_of_empirical", table, _EMPIRICAL))
        if self.ngrams is not None:
            nll = table[:, _NGRAMS:].sum(0)
            figures["ngram_perplexity"] = np.exp(nll / figures["residues"]).tolist()
            figures["ngram_accuracy"] = (self.ngram_correct / figures["residues"]).tolist()
            figures["ngram_order"] = int(nll.argmin()) + 1
            figures.update(_ratio("perplexity_of_ngram", table, _NGRAMS + int(nll.argmin())))
        figures["per_residue"] = self.per_residue()
        return figures

    def calibration_error(self) -> float:
        """Expected calibration error: mean |accuracy - confidence| over bins, by their residues.

        Source: Guo et al. 2017, arXiv:1706.04599, section 2, with 100 bins of equal width in place
        of 15: a model of residues is seldom surer than 30 %, which would be four bins.
        """
        correct, confidence = self.calibration.T
        return float((correct - confidence).abs().sum() / self.metrics.confusion.sum())

    def per_residue(self) -> dict[str, dict[str, float]]:
        """By letter that occurs: `targets`, `predicted`, `accuracy`, `perplexity` and the empirical
        baseline's; `predicted` is how often the model found it the likeliest.
        """
        confusion, first = self.metrics.confusion, self.alphabet.first_letter
        found = {}
        for code, letter in enumerate(self.alphabet.letters, start=first):
            targets = int(confusion[code].sum())
            if targets:
                found[letter] = {
                    "targets": targets,
                    "predicted": int(confusion[:, code].sum()),
                    "accuracy": int(confusion[code, code]) / targets,
                    "perplexity": math.exp(float(self.letter_nll[code]) / targets),
                    "empirical_perplexity": float((-self.baseline.log_probabilities[code]).exp()),
                }
        return found


def _ratio(name: str, table: NDArray[np.float64], column: int) -> dict[str, float]:
    """The model's perplexity over that of a baseline, and its interval."""
    return _with_interval(
        name, table, lambda t: math.exp((t[_NLL] - t[column]) / t[_COUNT]), itself=True
    )


def _with_interval(
    name: str, table: NDArray[np.float64], of_totals: Any, *, itself: bool = False
) -> dict[str, float]:
    """`name_low` and `name_high`, and with `itself` the figure of all proteins.

    Args:
        table: (P, columns).
        of_totals: from (columns,) sums to the figure.
    """

    def of_weights(weights: Weights) -> float:
        totals = weights @ table
        return float(of_totals(totals)) if totals[_COUNT] else math.nan

    low, high = bootstrap_interval(len(table), of_weights)
    interval = {f"{name}_low": low, f"{name}_high": high}
    return {name: float(of_totals(table.sum(0))), **interval} if itself else interval
