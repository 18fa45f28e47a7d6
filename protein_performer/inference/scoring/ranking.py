"""How well scores of variants agree with what was measured, by ProteinGym's definitions.

Source: Notin et al. 2023, ProteinGym (NeurIPS Datasets and Benchmarks), and the code beside it
(`performance_DMS_benchmarks.py`). Higher is better in scores and measurements alike.

Shapes: N variants.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

TOP = 0.1  # the share of the best variants that NDCG and top recall look at

Floats = NDArray[np.float64]


class Ranks(NamedTuple):
    """Values in groups of equal ones, to rank any resample of them without sorting again.

    Attributes:
        group: (N,) which of the distinct values, in order, each value is.
        size: how many distinct values there are.
    """

    group: NDArray[np.intp]
    size: int

    @classmethod
    def of(cls, values: ArrayLike) -> "Ranks":
        """Group (N,) values."""
        distinct, group = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True)
        return cls(group, len(distinct))

    def ranks(self, weights: NDArray[np.int64] | None = None) -> Floats:
        """(N,) ranks from 1; equal values share the mean of theirs.

        Args:
            weights: (N,) how often each value counts; None for once.
        """
        counts = np.bincount(self.group, weights, minlength=self.size)
        middle: Floats = np.cumsum(counts) - (counts - 1) / 2
        return middle[self.group]


def spearman(first: Ranks, second: Ranks, weights: NDArray[np.int64] | None = None) -> float:
    """Spearman's rank correlation; NaN where one side is constant.

    Args:
        weights: (N,) how often each pair counts; None for once.
    """
    w = np.ones(len(first.group)) if weights is None else weights
    x, y = first.ranks(weights), second.ranks(weights)
    x, y = x - np.average(x, weights=w), y - np.average(y, weights=w)
    spread = (w * x * x).sum() * (w * y * y).sum()
    # Ranks are halves of whole numbers: a constant side leaves rounding errors only.
    return float((w * x * y).sum() / np.sqrt(spread)) if spread > 1e-9 else float("nan")


def auc(scores: ArrayLike, fit: ArrayLike) -> float:
    """The share of pairs (fit, unfit) whose fit variant scores higher; ties count half.

    Args:
        scores: (N,).
        fit: (N,) bool. NaN without both kinds.
    """
    fit = np.asarray(fit, dtype=bool)
    positives, negatives = int(fit.sum()), int((~fit).sum())
    if not positives or not negatives:
        return float("nan")
    rank_sum = Ranks.of(scores).ranks()[fit].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * negatives))


def mcc(scores: ArrayLike, fit: ArrayLike) -> float:
    """Matthews' correlation of `fit` and of scores of at least their median; 0 if one is constant.

    Args:
        scores: (N,).
        fit: (N,) bool.
    """
    scores, fit = np.asarray(scores, dtype=np.float64), np.asarray(fit, dtype=bool)
    called = scores >= np.median(scores)
    tp, tn = float((called & fit).sum()), float((~called & ~fit).sum())
    fp, fn = float((called & ~fit).sum()), float((~called & fit).sum())
    spread = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / float(np.sqrt(spread)) if spread else 0.0


def ndcg(scores: ArrayLike, measured: ArrayLike, top: float = TOP) -> float:
    """Normalised discounted cumulative gain of the best share by score.

    The gain of a variant is its measurement, scaled to 0..1 over all; that of rank r is divided by
    log2(r + 1). Equal scores keep the order in which they came.

    Args:
        scores, measured: (N,).
        top: share of N, rounded down. NaN if that is no variant, or if all measured the same.
    """
    scores, measured = np.asarray(scores, np.float64), np.asarray(measured, np.float64)
    best = int(len(scores) * top)
    low, high = measured.min(), measured.max()
    if not best or low == high:
        return float("nan")
    gains = (measured - low) / (high - low)
    discounts = np.log2(np.arange(2, best + 2))
    gained = (gains[np.argsort(-scores, kind="stable")[:best]] / discounts).sum()
    ideal = (np.sort(gains)[::-1][:best] / discounts).sum()
    return float(gained / ideal)


def top_recall(scores: ArrayLike, measured: ArrayLike, top: float = TOP) -> float:
    """The share of the best by measurement that are among the best by score.

    Args:
        scores, measured: (N,).
        top: the best are those above this upper quantile; NaN if there are none.
    """
    scores, measured = np.asarray(scores, np.float64), np.asarray(measured, np.float64)
    best = measured > np.quantile(measured, 1 - top)
    chosen = scores > np.quantile(scores, 1 - top)
    return float((best & chosen).sum() / best.sum()) if best.any() else float("nan")
