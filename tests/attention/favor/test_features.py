"""Feature maps as estimators: their mean and error against the papers' lemmas."""

import math

import pytest
import torch
from attention.agreement import check
from attention.favor.dense_layer import KERNELS, dense, layer
from oracles import favor as oracles

from protein_performer.attention.favor.features import (
    COS,
    FEATURE_MAPS,
    Activation,
    elementwise,
    favor_plus_plus,
    hyperbolic,
    optimal_a,
    softmax,
    trigonometric,
)
from protein_performer.attention.favor.projections import (
    fixed_norms,
    iid,
    orthogonal,
    simplex,
    stream,
)

DIM = 4
ELEMENTWISE = ["relu", "sigmoid", "abs", "gelu", "cos", "tanh", "identity", "elu+1"]


def values(features, x):
    """phi(x) by the formula that `FeatureMap` documents."""
    y = features.gain * x
    u = y @ features.weight.mT
    if features.offset is not None:
        u = u + features.offset[..., None, :]
    u = u.exp() if features.activation is None else features.activation.value(u)
    factor = math.sqrt(features.scale) * (features.norm * y.square().sum(-1, keepdim=True)).exp()
    return factor * (u + features.epsilon)


def pair(length):
    """Two unscaled vectors (1, D), 60 degrees apart, of that length after the scale D^-1/4."""
    x, y = torch.zeros(2, 1, DIM, dtype=torch.float64)
    x[0, 0], y[0, 0], y[0, 1] = 1.0, 0.5, math.sqrt(0.75)
    return x * length * DIM**0.25, y * length * DIM**0.25


def estimates(features_of, draw, draws, m, length):
    """(draws,) estimates of the softmax kernel of `pair`, and the kernel's x and y."""
    generator = stream(7)
    w = torch.stack([draw(m, DIM, generator) for _ in range(draws)])
    q, k = pair(length)
    features = features_of(w)
    estimate = (values(features, q) * values(features, k)).sum((-1, -2))
    return estimate, oracles.scaled(q)[0], oracles.scaled(k)[0]


def mean_and_error(x):
    return x.mean(), x.std() / math.sqrt(len(x))


@pytest.mark.parametrize("features", [softmax, hyperbolic, trigonometric])
def test_mean_and_variance_of_independent_features(features):
    m = 3
    estimate, x, y = estimates(features, iid, 20_000, m, length=0.4)
    kernel = oracles.softmax_kernel(x, y)
    mean, error = mean_and_error(estimate)
    assert abs(mean - kernel) < 4 * error
    theory = {
        softmax: oracles.mse_positive,
        hyperbolic: oracles.mse_hyperbolic,
        trigonometric: oracles.mse_trigonometric,
    }[features](x, y, m)
    mse, error = mean_and_error((estimate - kernel) ** 2)
    assert abs(mse - theory) < 4 * error
    assert error < 0.05 * theory  # the test has the power to tell


@pytest.mark.parametrize("draw", [orthogonal, simplex])
def test_coupled_features_are_unbiased_and_beat_theorem_2(draw):
    estimate, x, y = estimates(softmax, draw, 20_000, DIM, length=0.4)
    kernel = oracles.softmax_kernel(x, y)
    mean, error = mean_and_error(estimate)
    assert abs(mean - kernel) < 4 * error
    independent = oracles.mse_positive(x, y, DIM)
    bound = independent - oracles.gain_of_orthogonality(x, y, DIM)
    mse, error = mean_and_error((estimate - kernel) ** 2)
    assert mse < bound + 3 * error
    assert mse + 3 * error < independent


def test_regularised_kernel_has_its_closed_form():
    estimate, x, y = estimates(
        lambda w: softmax(fixed_norms(w)), orthogonal, 10_000, DIM, length=0.9
    )
    ratio = oracles.smreg_ratio(x, y)
    assert ratio < 0.9  # far enough from the softmax kernel itself
    mean, error = mean_and_error(estimate)
    assert abs(mean - ratio * oracles.softmax_kernel(x, y)) < 4 * error


@pytest.mark.parametrize("spread", [0.5, 4.0, 50.0])
@pytest.mark.parametrize("dim", [8, 64])
def test_optimal_a_has_the_least_second_moment(spread, dim):
    a = optimal_a(spread, dim)
    assert a < 0
    least = oracles.log_second_moment(a, spread, dim)
    for factor in (0.9, 0.99, 1.01, 1.1):
        assert least < oracles.log_second_moment(a * factor, spread, dim)


def test_optimal_features_are_unbiased_with_the_predicted_variance():
    m, length = 2, 0.7
    q, k = pair(length)
    spread = ((q + k).square().sum() / math.sqrt(DIM)).item()
    estimate, x, y = estimates(lambda w: favor_plus_plus(w, spread), iid, 40_000, m, length)
    kernel = oracles.softmax_kernel(x, y)
    mean, error = mean_and_error(estimate)
    assert abs(mean - kernel) < 4 * error
    second = oracles.log_second_moment(optimal_a(spread, DIM), spread, DIM)
    second = math.exp(second - (x.square() + y.square()).sum().item())
    theory = (second - kernel**2) / m
    mse, error = mean_and_error((estimate - kernel) ** 2)
    assert abs(mse - theory) < 4 * error
    assert mse + 4 * error < oracles.mse_positive(x, y, m)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_derivatives_are_those_of_autograd(name):
    torch.manual_seed(0)
    activation = FEATURE_MAPS[name](torch.eye(2), None).activation
    u = torch.randn(200, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn_like(u)
    (expected,) = torch.autograd.grad(activation.value(u), u, upstream)
    got = activation.backward(upstream.clone(), u.detach())
    assert torch.allclose(got, expected, rtol=1e-12, atol=1e-14)
    out = torch.empty_like(u)
    with torch.no_grad():
        assert torch.equal(activation.value(u, out=out), activation.value(u))


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_only_positive_kernels_say_so(name):
    features = FEATURE_MAPS[name](torch.eye(2), None)
    u = torch.linspace(-8, 8, 1001, dtype=torch.float64)
    phi = features.activation.value(u) + features.epsilon
    assert features.activation.positive == bool((phi > 0).all())


def test_trigonometric_features_are_cosines():
    features = trigonometric(torch.randn(5, DIM))
    assert features.activation is COS
    assert features.weight.shape == (10, DIM)


@pytest.mark.parametrize("causal", [False, True])
def test_a_new_kernel_is_one_entry(monkeypatch, causal):
    """Softplus, without a derivative of its own, against the dense formula."""
    softplus = Activation(lambda u, out=None: torch.nn.functional.softplus(u))
    monkeypatch.setitem(FEATURE_MAPS, "softplus", elementwise(softplus, epsilon=0.1))
    monkeypatch.setitem(KERNELS, "softplus", lambda u: u.exp().log1p())
    favor = layer(causal, feature_map="softplus", epsilon=0.1).double()
    check(favor, dense(favor), dtype=torch.float64, scale=1.0)


def test_elu_plus_one_keeps_its_digits():
    u = torch.linspace(-80, 5, 2000)
    exact = torch.where(u > 0, u.double() + 1, u.double().exp())
    value = FEATURE_MAPS["elu+1"](torch.eye(2), None).activation.value(u)
    assert ((value - exact) / exact).abs().max() < 1e-6
