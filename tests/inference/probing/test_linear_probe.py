"""The probe's two regressions against the formulas that they are said to solve."""

import sys

import numpy as np
import pytest

from protein_performer.errors import UserError
from protein_performer.inference.probing import linear_probe
from protein_performer.inference.probing.linear_probe import PENALTIES, fit_probe


@pytest.fixture
def features():
    generator = np.random.default_rng(0)
    scales = np.array([1, 100, 0.01, 5], np.float32)
    return generator.normal(3, 1, (40, 4)).astype(np.float32) * scales


def standardised(features):
    exact = features.astype(np.float64)
    return (exact - exact.mean(0)) / exact.std(0)


def chosen(features, labels, penalty, classify, monkeypatch):
    """The probe of one penalty, whatever its score."""
    monkeypatch.setattr(linear_probe, "PENALTIES", (penalty,))
    return fit_probe(features, labels, features, lambda y: float("nan"), classify=classify)


@pytest.mark.parametrize("penalty", [10.0, 0.1, 1e-6])
def test_ridge_solves_its_normal_equations(features, penalty, monkeypatch):
    labels = np.random.default_rng(1).normal(size=40)
    probe = chosen(features, labels, penalty, False, monkeypatch)
    x = standardised(features)
    # mean (y - x w - b)^2 / 2 + penalty |w|^2 / 2 is least where its gradient is 0.
    w = np.linalg.solve(x.T @ x / 40 + penalty * np.eye(4), x.T @ (labels - labels.mean()) / 40)
    np.testing.assert_allclose(probe.predict(features), x @ w + labels.mean(), atol=1e-5)
    assert probe.penalty == penalty


@pytest.mark.parametrize("penalty", [1.0, 0.01])
def test_logistic_regression_is_where_the_gradient_of_its_loss_is_zero(
    features, penalty, monkeypatch
):
    generator = np.random.default_rng(2)
    labels = generator.integers(3, size=40)
    seen = []
    fit = linear_probe._sklearn().linear_model.LogisticRegression.fit

    def keep(self, *data):
        seen.append(fit(self, *data))
        return seen[-1]

    monkeypatch.setattr(linear_probe._sklearn().linear_model.LogisticRegression, "fit", keep)
    chosen(features, labels, penalty, True, monkeypatch)
    (model,) = seen
    x = standardised(features)
    logits = x @ model.coef_.T + model.intercept_
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    errors = shares - np.eye(3)[labels]
    np.testing.assert_allclose(x.T @ errors / 40 + penalty * model.coef_.T, 0, atol=2e-3)
    np.testing.assert_allclose(errors.mean(0), 0, atol=2e-3)


@pytest.mark.parametrize("classify", [False, True])
def test_the_penalty_is_the_one_that_is_best_on_validation(features, classify):
    labels = (features[:, 0] > 3).astype(np.int64 if classify else np.float64)
    scores = iter([float("nan"), 0.1, 0.3, 0.3, 0.2, 0.1, 0, 0, 0, 0])
    probe = fit_probe(features, labels, features, lambda y: next(scores), classify=classify)
    assert (probe.penalty, probe.validation) == (PENALTIES[2], 0.3)


def test_a_column_that_says_nothing_does_no_harm(features):
    features[:, 2] = 7
    labels = features[:, 0].astype(np.float64)
    probe = fit_probe(features, labels, features, lambda y: -np.ptp(y - labels), classify=False)
    np.testing.assert_allclose(probe.predict(features), labels, atol=1e-3)
    assert probe.converged


def test_an_optimiser_that_is_stopped_early_is_told(features, monkeypatch):
    monkeypatch.setattr(linear_probe, "STEPS", 1)
    labels = (features[:, 0] > 3).astype(np.int64)
    probe = fit_probe(features, labels, features, lambda y: (y == labels).mean(), classify=True)
    assert not probe.converged


def test_without_scikit_learn_the_extra_is_named(features, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(UserError, match=r"protein-performer\[probe\]"):
        fit_probe(features, features[:, 0], features, lambda y: 0.0, classify=False)
