"""How well predictions agree with labels, for any resample of the proteins.

Shapes: N proteins, n rows (N, or the residues of all proteins).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protein_performer.inference.probing.labelled_proteins import Task
from protein_performer.inference.scoring.ranking import Ranks, spearman

# From (N,) int64, how often each protein counts, or None for once, to a figure.
Statistic = Callable[[NDArray[np.int64] | None], float]


class Agreement:
    """Spearman's correlation for numbers, accuracy for classes.

    Args:
        task: of the labels.
        labels: of N proteins, each (rows of it,).
    """

    def __init__(self, task: Task, labels: Sequence[NDArray[Any]]) -> None:
        self.proteins = len(labels)
        self._rows = np.array([len(each) for each in labels])
        self._owner = np.repeat(np.arange(len(labels)), self._rows)
        self._labels = np.concatenate(labels)
        self._ranks = Ranks.of(self._labels) if task == "regression" else None

    def statistic(self, predictions: NDArray[Any]) -> Statistic:
        """The figure of (n,) predictions, as a function of how often each protein counts."""
        ranks = self._ranks
        if ranks is not None:
            predicted = Ranks.of(predictions)
            return lambda weights: spearman(predicted, ranks, weights)
        right = np.bincount(self._owner, predictions == self._labels, self.proteins)

        def accuracy(weights: NDArray[np.int64] | None) -> float:
            once = np.ones(self.proteins) if weights is None else weights
            return float(once @ right / (once @ self._rows))

        return accuracy
