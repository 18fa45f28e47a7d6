"""The dense formula for a `Favor` with given options, with that layer's own features."""

import math

import torch
from oracles import favor as oracles

from protein_performer.attention.favor.favor import Favor
from protein_performer.attention.protocol import LayerSpec

KERNELS = {
    "relu": lambda u: u.clamp(min=0),
    "sigmoid": lambda u: 1 / (1 + (-u).exp()),
    "exp": torch.exp,
    "abs": torch.abs,
    "gelu": lambda u: u * (1 + torch.erf(u / math.sqrt(2))) / 2,
    "cos": torch.cos,
    "tanh": torch.tanh,
    "identity": lambda u: u,
    "elu+1": lambda u: torch.where(u > 0, u + 1, u.clamp(max=0).exp()),
}
SIGNED = ["trigonometric", "gelu", "cos", "tanh", "identity"]
POSITIVE = ["softmax", "hyperbolic", "favor++", "relu", "sigmoid", "exp", "abs", "elu+1"]
EPSILON = {"exp": 0.0, "elu+1": 0.0}  # the other elementwise kernels: 1e-3


def layer(causal, dim=8, heads=2, **options):
    options = {"num_features": 11, **options}
    if options.get("feature_map") == "favor++":
        options = {"spread": 3.0, **options}
    return Favor(LayerSpec(heads, dim, causal, layer=1, seed=5), **options)


def features(favor, x, w):
    """phi(x) in float64."""
    name = favor.options.feature_map
    if name in KERNELS:
        epsilon = favor.options.epsilon
        epsilon = EPSILON.get(name, 1e-3) if epsilon is None else epsilon
        return KERNELS[name](x @ w.mT) + epsilon
    if name == "favor++":
        ratio = 2 * favor.options.spread / x.shape[-1]
        a = (1 - ratio - math.sqrt((ratio + 1) ** 2 + 4 * ratio)) / 16
        return oracles.optimal(oracles.scaled(x), w, a)
    kernel = {
        "softmax": oracles.positive,
        "hyperbolic": oracles.hyperbolic,
        "trigonometric": oracles.trigonometric,
    }[name]
    x = oracles.scaled(x)
    phi = kernel(x, w)
    if favor.options.epsilon is None:
        return phi
    # Added to the sines and cosines, so it has their factor.
    factor = (x.square().sum(-1, keepdim=True) / 2).exp() / math.sqrt(w.shape[-2])
    return phi + favor.options.epsilon * factor


def dense(favor):
    """oracle(q, k, v, mask), as `agreement.check` wants it."""

    def oracle(q, k, v, mask):
        w = favor.projection.double()
        phi_q, phi_k = features(favor, q, w), features(favor, k, w)
        causal, renormalize = favor.spec.causal, favor.options.renormalize
        return oracles.attention(phi_q, phi_k, v, mask, causal, renormalize)

    return oracle
