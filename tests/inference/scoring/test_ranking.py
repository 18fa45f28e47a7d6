"""Against hand-computed values, and against definitions written out pair by pair."""

import math

import numpy as np
import pytest

from protein_performer.inference.scoring.ranking import Ranks, auc, mcc, ndcg, spearman, top_recall


def of(first, second, weights=None):
    return spearman(Ranks.of(first), Ranks.of(second), weights)


def test_ranks_of_equal_values_are_shared():
    np.testing.assert_array_equal(Ranks.of([0.3, -1, 0.3, 7]).ranks(), [2.5, 1, 2.5, 4])


def test_spearman_by_hand():
    # Ranks 1 2 3 4 against 1 3 2 4: 1 - 6 (0 + 1 + 1 + 0) / (4 (16 - 1)).
    assert of([10, 20, 30, 40], [1, 30, 2, 400]) == pytest.approx(1 - 12 / 60)
    assert of([1, 2, 3], [9, 5, 1]) == pytest.approx(-1)
    # With ties, Pearson's correlation of ranks 1 2.5 2.5 4 and 1 2 3 4: 4.5 / sqrt(4.5 * 5).
    assert of([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(4.5 / math.sqrt(4.5 * 5))
    assert math.isnan(of([1, 1, 1], [1, 2, 3]))


def test_a_weighted_spearman_is_that_of_the_repeated_pairs():
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 6, 40), generator.normal(size=40)
    weights = np.bincount(generator.integers(40, size=40), minlength=40)
    repeated = of(np.repeat(x, weights), np.repeat(y, weights))
    assert of(x, y, weights) == pytest.approx(repeated, rel=1e-12)


def test_auc_counts_pairs():
    generator = np.random.default_rng(1)
    scores, fit = generator.integers(0, 9, 50), generator.random(50) < 0.4
    pairs = [
        1.0 if good > bad else 0.5 if good == bad else 0.0
        for good in scores[fit]
        for bad in scores[~fit]
    ]
    assert auc(scores, fit) == pytest.approx(np.mean(pairs))
    assert math.isnan(auc([1, 2], [True, True]))


def test_mcc_by_hand():
    # The median of the scores is 2.5: called fit are 3 and 4, of which one is; so is one of 1, 2.
    assert mcc([1, 2, 3, 4], [False, True, False, True]) == 0
    # tp 2, fp 1, fn 0, tn 2 (median 3, itself called fit).
    expected = (2 * 2 - 0) / math.sqrt(3 * 2 * 3 * 2)
    assert mcc([1, 2, 3, 4, 5], [False, False, False, True, True]) == pytest.approx(expected)
    assert mcc([1, 2, 3], [True, True, True]) == 0


def test_ndcg_by_hand():
    measured = np.arange(20.0)  # gains 0, 1/19, ..., 1; the best two count
    scores = np.zeros(20)
    scores[[3, 19]] = 2, 1  # first the one of gain 3/19, then that of gain 1
    ideal = 1 + 18 / 19 / math.log2(3)
    assert ndcg(scores, measured) == pytest.approx((3 / 19 + 1 / math.log2(3)) / ideal)
    assert ndcg(measured, measured) == pytest.approx(1)
    assert math.isnan(ndcg([1, 2, 3], [1, 2, 3]))  # a tenth of three is none
    assert math.isnan(ndcg(measured, np.ones(20)))


def test_top_recall_by_hand():
    measured = np.arange(30.0)  # the best are 27, 28, 29
    scores = np.zeros(30)
    scores[[29, 28, 5]] = 3, 2, 1
    assert top_recall(scores, measured) == pytest.approx(2 / 3)
    assert math.isnan(top_recall(scores, np.ones(30)))
