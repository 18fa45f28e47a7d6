"""How far a figure might move with other samples: percentile intervals by the bootstrap.

Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13. What is resampled
is what is independent: proteins, not their residues, which depend on each other.

Shapes: N units, R resamples.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
LEVEL = 0.95

Weights = NDArray[np.int64]


def bootstrap_interval(
    units: int,
    statistic: Callable[[Weights], float],
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> tuple[float, float]:
    """The interval that holds the middle `level` of a statistic over resamples.

    Args:
        units: N, what is drawn N times with replacement.
        statistic: from (N,) int64, how often each unit was drawn, to the figure. Resamples in which
            it is NaN are left out.
        resamples: R.
        seed: of the draws: the same data have the same interval, and two figures of the same units
            are compared on the same resamples.

    Returns: low and high; NaN with fewer than two units, of which there is nothing to learn.
    """
    if units < 2:
        return float("nan"), float("nan")
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        drawn = generator.integers(units, size=units)
        values.append(statistic(np.bincount(drawn, minlength=units)))
    found = np.array(values)[~np.isnan(values)]
    if not len(found):
        return float("nan"), float("nan")
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
