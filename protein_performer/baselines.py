"""What a model must beat: guessing by how often each residue occurs.

Shapes: V vocabulary.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from protein_performer.alphabet import Alphabet
from protein_performer.errors import UserError


class BaselineSums(NamedTuple):
    """What the baseline gets on some targets; sums, so that parts add up."""

    nll: float  # negative log-likelihood, nats
    correct: int
    targets: int  # that are residues


class EmpiricalBaseline:
    """Predicts the residue frequencies of the training set at every position.

    Frequencies are Laplace-smoothed (1 added to the count of each letter) and of residues only:
    special tokens and padding are neither counted nor predicted. The Performer authors' code
    (google-research, protein_lm) counts padding too.

    Args:
        residue_counts: (V,) how often each token occurs in the training set; the counts of special
            tokens are left out.
    """

    def __init__(self, residue_counts: Tensor) -> None:
        counts = torch.as_tensor(residue_counts).double().cpu().clone()
        letters = torch.arange(len(counts)) >= Alphabet.first_letter
        if not counts[letters].any():
            raise UserError("empirical baseline: the training set has no residues to count")
        smoothed = torch.where(letters, counts + 1, 0.0)
        self.log_probabilities = (smoothed / smoothed.sum()).log()  # -inf at special tokens

    def sums(self, target_counts: Tensor) -> BaselineSums:
        """The baseline's score on targets.

        Args:
            target_counts: (V,) how often each token is a target; special tokens are left out.
        """
        counts = torch.as_tensor(target_counts).double().cpu()[Alphabet.first_letter :]
        log_probabilities = self.log_probabilities[Alphabet.first_letter :]
        nll = -(counts * log_probabilities).sum()
        correct = counts[log_probabilities.argmax()]
        return BaselineSums(float(nll), int(correct), int(counts.sum()))

    def score(self, target_counts: Tensor) -> dict[str, float]:
        """`accuracy` and `perplexity` on targets, as `sums`; NaN if there are none."""
        nll, correct, targets = self.sums(target_counts)
        if targets == 0:
            return {"accuracy": float("nan"), "perplexity": float("nan")}
        return {
            "accuracy": correct / targets,
            "perplexity": float(torch.tensor(nll / targets, dtype=torch.float64).exp()),
        }
