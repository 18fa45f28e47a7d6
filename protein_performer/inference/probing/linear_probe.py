"""A linear model on fixed features: ridge for numbers, logistic regression for classes.

Features are shifted and scaled to mean 0 and variance 1 in training. Both minimise the mean loss
plus penalty / 2 times the squared weights, so that a penalty means the same for any number of rows:
scikit-learn's `alpha` is n penalty, its `C` is 1 / (n penalty).

Shapes: n rows, F features.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protein_performer.errors import UserError

PENALTIES = tuple(10.0**power for power in range(3, -7, -1))
STEPS = 500  # of the optimiser, for one penalty

Array = NDArray[Any]


class LinearProbe(NamedTuple):
    """A fitted one.

    Attributes:
        predict: from (n, F) features to (n,) numbers or classes.
        penalty: that was chosen.
        validation: its score there.
        converged: whether the optimiser came to its end.
    """

    predict: Callable[[Array], Array]
    penalty: float
    validation: float
    converged: bool


def fit_probe(
    features: Array,
    labels: Array,
    validation: Array,
    score: Callable[[Array], float],
    *,
    classify: bool,
) -> LinearProbe:
    """Fit one for each of `PENALTIES`; the best on validation is kept, of equal ones the simplest.

    Args:
        features: (n, F) float32, of training.
        labels: (n,) float64, or int64 classes.
        validation: (m, F), of other proteins.
        score: from (m,) predictions to how good they are; NaN counts as worst.
        classify: logistic regression instead of ridge.

    Raises: UserError where scikit-learn is not installed, and for a single class.
    """
    if classify and len(np.unique(labels)) < 2:
        raise UserError("expected at least two classes in training, got 1. Take more of it.")
    scale = _sklearn().preprocessing.StandardScaler().fit(features)
    scaled, validation = scale.transform(features), scale.transform(validation)
    path = (_logistic if classify else _ridge)(scaled, labels)
    best: LinearProbe | None = None
    for penalty, predict, converged in path:
        found = score(predict(validation))
        if best is None or found > best.validation or np.isnan(best.validation):
            best = LinearProbe(predict, penalty, found, converged)
    assert best is not None
    chosen = best.predict
    return best._replace(predict=lambda rows: chosen(scale.transform(rows)))


_Path = Iterator[tuple[float, Callable[[Array], Array], bool]]


def _ridge(features: Array, labels: Array) -> _Path:
    exact = features.astype(np.float64)
    for penalty in PENALTIES:
        model = _sklearn().linear_model.Ridge(alpha=len(labels) * penalty).fit(exact, labels)
        yield penalty, model.predict, True


def _logistic(features: Array, labels: Array) -> _Path:
    sklearn = _sklearn()
    start = None
    for penalty in PENALTIES:  # the strongest first, and each starts from the one before it
        model = sklearn.linear_model.LogisticRegression(
            C=1 / (len(labels) * penalty), max_iter=STEPS, warm_start=True
        )
        if start is not None:
            model.coef_, model.intercept_, model.classes_ = start
        with warnings.catch_warnings():  # told by the caller, of the one that is chosen
            warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
            model.fit(features, labels)
        start = model.coef_, model.intercept_, model.classes_
        yield penalty, model.predict, bool(model.n_iter_.max() < STEPS)


def _sklearn() -> Any:
    try:
        import sklearn.exceptions
        import sklearn.linear_model
        import sklearn.preprocessing
    except ImportError:
        raise UserError(
            "a probe needs scikit-learn: pip install 'protein-performer[probe]'"
        ) from None
    return sklearn
