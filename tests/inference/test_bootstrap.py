import math

import numpy as np
import pytest

from protein_performer.inference.bootstrap import bootstrap_interval


def test_of_a_mean_it_is_the_normal_approximations():
    """The mean of 400 values of variance 1: 1.96 standard errors of 1/20 on either side."""
    values = np.random.default_rng(3).normal(size=400)
    values = (values - values.mean()) / values.std()
    low, high = bootstrap_interval(400, lambda w: float(w @ values / w.sum()), resamples=4000)
    assert low == pytest.approx(-1.96 / 20, rel=0.06)
    assert high == pytest.approx(1.96 / 20, rel=0.06)


def test_the_same_data_have_the_same_interval():
    values = np.random.default_rng(0).normal(size=50)

    def statistic(weights):
        return float(weights @ values / weights.sum())

    assert bootstrap_interval(50, statistic) == bootstrap_interval(50, statistic)
    assert bootstrap_interval(50, statistic) != bootstrap_interval(50, statistic, seed=1)


def test_it_covers_the_truth_as_often_as_it_says():
    """Of 300 samples from a skewed distribution, about 95 % of the intervals hold its mean."""
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        values = generator.exponential(size=100)
        low, high = bootstrap_interval(
            100, lambda w, v=values: float(w @ v / w.sum()), resamples=200
        )
        held += low <= 1 <= high
    assert 0.88 <= held / 300 <= 0.98


def test_without_two_units_there_is_no_interval():
    assert all(map(math.isnan, bootstrap_interval(1, lambda w: 1.0)))
    assert all(map(math.isnan, bootstrap_interval(0, lambda w: 1.0)))
    assert all(map(math.isnan, bootstrap_interval(5, lambda w: float("nan"))))
