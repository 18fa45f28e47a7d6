"""The dense formula for a `Favor` with given options, with that layer's own features."""

import math

import torch
from oracles import favor as oracles

from protein_performer.attention.favor import linear
from protein_performer.attention.favor.favor import Favor
from protein_performer.attention.padding import zero_padding
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
        x = oracles.scaled(x)
        return floored(oracles.optimal(x, w, a), x, favor.options.epsilon)
    kernel = {
        "softmax": oracles.positive,
        "hyperbolic": oracles.hyperbolic,
        "trigonometric": oracles.trigonometric,
    }[name]
    x = oracles.scaled(x)
    phi = kernel(x, w)
    if name != "trigonometric":
        return floored(phi, x, favor.options.epsilon)
    if favor.options.epsilon is None:
        return phi
    # Added to the sines and cosines, so it has their factor.
    factor = (x.square().sum(-1, keepdim=True) / 2).exp() / math.sqrt(w.shape[-2])
    return phi + favor.options.epsilon * factor


def floored(phi, x, epsilon):
    """phi + epsilon times its largest, exp(-|x|^2 / 2) apart a constant to the gradient."""
    if epsilon is None:
        return phi
    norm = (-x.square().sum(-1, keepdim=True) / 2).exp()
    return phi + epsilon * (phi.amax(-1, keepdim=True) / norm).detach() * norm


def dense(favor):
    """oracle(q, k, v, mask), as `agreement.check` wants it."""

    def oracle(q, k, v, mask):
        w = favor.projection.double()
        phi_q, phi_k = features(favor, q, w), features(favor, k, w)
        causal, normalize = favor.spec.causal, favor.options.normalize
        return oracles.attention(phi_q, phi_k, v, mask, causal, normalize)

    return oracle


def rounding(favor):
    """tolerance(q, k, mask): how far float64 may move what a vanishing normalizer divides.

    A sum of n terms is off by at most n u sum |terms| (Higham 2002, section 4.2), so a quotient by
    it by n u kappa, kappa = sum |terms| / |sum|, once for numerator and denominator each; the
    gradient divides by it twice.
    """

    def tolerance(q, k, mask):
        w = favor.projection.double()
        phi_q, phi_k = features(favor, q, w).detach(), features(favor, k, w).detach()
        seen = mask[:, None, None] & torch.ones(q.shape[2], q.shape[2], dtype=torch.bool)
        seen = seen.tril() if favor.spec.causal else seen
        weights, sizes = phi_q @ phi_k.mT, phi_q.abs() @ phi_k.abs().mT
        kappa = (sizes * seen).sum(-1) / (weights * seen).sum(-1).abs()
        terms = q.shape[3] + phi_q.shape[-1] + k.shape[2]
        worst = kappa[mask[:, None].expand_as(kappa)].max().item()
        return 4 * terms * torch.finfo(q.dtype).eps * worst

    return tolerance


def all_at_once(favor):
    """The layer by the plain form, which GPUs and compilers get, on CPU tensors."""

    def attend(q, k, v, *, key_mask):
        operands = favor._operands(q, k, v, key_mask)
        if favor.spec.causal:
            return zero_padding(linear.causal(operands)[0], key_mask)
        return zero_padding(linear.bidirectional(operands), key_mask)

    return attend
