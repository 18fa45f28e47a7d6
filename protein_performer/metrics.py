"""Token-weighted metrics: sums now, ratios last.

A mean of per-batch perplexities depends on how the data were batched; exp(total nll / total
residues) does not. All states are sums, so they add over batches and over ranks.

Shapes: N scored positions, V vocabulary.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
import torchmetrics
from torch import Tensor


class ResidueMetrics(torchmetrics.Metric):
    """Accuracy, loss (nats) and perplexity over residues; special tokens are not scored.

    Of text, over bytes, and with bits per byte, which do not depend on how text is cut into tokens.

    Args:
        vocabulary_size: V. A perplexity of V is a uniform guess over the vocabulary.
        first_letter: the smallest code that is a residue; targets below it are left out.
        unit: what is counted, `residue` or `byte`; see `Alphabet.unit`.

    Attributes:
        nll: summed negative log-likelihood, nats, float64.
        confusion: (V, V) int64 counts, rows the true residue, columns the predicted one.
    """

    full_state_update = False
    higher_is_better = None
    is_differentiable = False

    nll: Tensor
    confusion: Tensor

    def __init__(
        self, vocabulary_size: int, first_letter: int, unit: str = "residue", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.first_letter = first_letter
        self.unit = unit
        self.add_state("nll", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        square = torch.zeros(vocabulary_size, vocabulary_size, dtype=torch.int64)
        self.add_state("confusion", square, dist_reduce_fx="sum")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add the rows whose target is a residue.

        Args:
            logits: (N, V), any float dtype; the log-softmax is taken in float32.
            targets: (N,) int64 codes.
        """
        scored = targets >= self.first_letter
        logits, targets = logits[scored].float(), targets[scored]
        losses = F.cross_entropy(logits, targets, reduction="none")
        self.nll += losses.double().sum()
        cells = targets * self.vocabulary_size + logits.argmax(-1)
        counts = torch.bincount(cells, minlength=self.vocabulary_size**2)
        self.confusion += counts.view_as(self.confusion)

    @property
    def target_counts(self) -> Tensor:
        """(V,) int64, how often each token was the target."""
        return self.confusion.sum(1)

    def compute(self) -> dict[str, Tensor]:
        """`accuracy`, `loss`, `perplexity` (float64; NaN without residues) and `residues`.

        Of text `bytes` in their place, and `bits_per_byte`.
        """
        count = self.confusion.sum()
        loss = self.nll / count
        figures = {
            "accuracy": self.confusion.trace().double() / count,
            "loss": loss,
            "perplexity": loss.exp(),
            f"{self.unit}s": count,
        }
        return figures | ({"bits_per_byte": loss / math.log(2)} if self.unit == "byte" else {})
