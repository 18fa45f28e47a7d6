"""FAVOR+ as its papers write it: dense, in float64, without stabilisers. Imports nothing of ours.

x, y, q, k are (..., L, D), w is (M, D); in the lemmas x and y are already scaled by D^(-1/4).
P: Choromanski et al. 2021, arXiv:2009.14794.
"""

import math

import torch
from torch import Tensor


def scaled(x: Tensor) -> Tensor:
    """So that exp(x.y) is the softmax kernel (P, section 2.1)."""
    return x / x.shape[-1] ** 0.25


def squares(x: Tensor) -> Tensor:
    return (x * x).sum(-1, keepdim=True)


def positive(x: Tensor, w: Tensor) -> Tensor:
    """P, lemma 1: SM+."""
    return (x @ w.mT - squares(x) / 2).exp() / math.sqrt(w.shape[-2])


def hyperbolic(x: Tensor, w: Tensor) -> Tensor:
    """P, lemma 1: SM^hyp+."""
    u = x @ w.mT
    return (torch.cat([u, -u], -1) - squares(x) / 2).exp() / math.sqrt(2 * w.shape[-2])


def trigonometric(x: Tensor, w: Tensor) -> Tensor:
    """P, section 2.3: SM^trig."""
    u = x @ w.mT
    return (squares(x) / 2).exp() * torch.cat([u.sin(), u.cos()], -1) / math.sqrt(w.shape[-2])


def optimal(x: Tensor, w: Tensor, a: Tensor | float) -> Tensor:
    """Likhosherstov et al. 2022, arXiv:2205.15317, equation 9 with B = sqrt(1 - 4A), C = -1/2.

    a: a number, or (..., 1, 1) against x.
    """
    a = torch.as_tensor(a, dtype=x.dtype)
    exponent = a * squares(w).mT + (1 - 4 * a).sqrt() * (x @ w.mT) - squares(x) / 2
    return (1 - 4 * a) ** (x.shape[-1] / 4) * exponent.exp() / math.sqrt(w.shape[-2])


def log_second_moment(a: float, z2: float, dim: int) -> float:
    """log E[(f(w, x) f(w, y))^2] of `optimal` with one feature, up to a term without A.

    The Gaussian integral of exp(4A |w|^2 + 2 sqrt(1 - 4A) w.z), z = x + y.
    """
    gaussian = -dim / 2 * math.log(1 - 8 * a) + 2 * (1 - 4 * a) * z2 / (1 - 8 * a)
    return dim * math.log(1 - 4 * a) + gaussian


def psi(q: Tensor, k: Tensor) -> Tensor:
    """SADERF's factor of each dimension, Likhosherstov et al. 2023, arXiv:2302.00787."""
    return ((k * k).sum(-2) / (q * q).sum(-2)) ** 0.25


def softmax_kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum(-1).exp()


def mse_positive(x: Tensor, y: Tensor, m: int) -> Tensor:
    """P, lemma 2, independent features."""
    z2 = squares(x + y)[..., 0]
    return z2.exp() * softmax_kernel(x, y) ** 2 * (1 - (-z2).exp()) / m


def mse_hyperbolic(x: Tensor, y: Tensor, m: int) -> Tensor:
    """P, lemma 2; m draws of w, 2 m features."""
    z2 = squares(x + y)[..., 0]
    return (1 - (-z2).exp()) / 2 * mse_positive(x, y, m)


def mse_trigonometric(x: Tensor, y: Tensor, m: int) -> Tensor:
    """P, lemma 2; m draws of w, 2 m features."""
    z2, difference = squares(x + y)[..., 0], squares(x - y)[..., 0]
    return z2.exp() / softmax_kernel(x, y) ** 2 * (1 - (-difference).exp()) ** 2 / (2 * m)


def gain_of_orthogonality(x: Tensor, y: Tensor, m: int) -> Tensor:
    """P, theorem 2: by how much the error of orthogonal features, m <= D, is lower at least."""
    dim = x.shape[-1]
    uncoupled = (-(squares(x) + squares(y))[..., 0] / 2).exp()
    return 2 * (m - 1) / (m * (dim + 2)) * (softmax_kernel(x, y) - uncoupled) ** 2


def smreg_ratio(x: Tensor, y: Tensor) -> Tensor:
    """SMREG(x, y) / SM(x, y) in closed form: P, proof of theorem 1."""
    dim = x.shape[-1]
    half = squares(x + y)[..., 0] / 2
    total, term = torch.zeros_like(half), torch.ones_like(half)
    for n in range(80):
        total = total + term
        term = term * half / (n + 1) * dim / (dim + 2 * n)
    return (-half).exp() * total


def attention(
    phi_q: Tensor, phi_k: Tensor, v: Tensor, mask: Tensor, causal: bool, normalize: bool = True
) -> Tensor:
    """P, equations 2 and 4: D^-1 A V with A = Q' K'^T over the tokens that a token may see.

    phi_q, phi_k: (B, H, L, M); v: (B, H, L, D); mask: (B, L). Zeros at padding.
    """
    a = phi_q @ phi_k.mT * mask[:, None, None, :]
    if causal:
        a = a.tril()
    real = mask[:, None, :, None]
    normalizer = torch.where(real, a.sum(-1, keepdim=True), 1.0)
    return torch.where(real, a @ v / normalizer if normalize else a @ v, 0.0)


def log_attention(log_q: Tensor, log_k: Tensor, v: Tensor) -> Tensor:
    """Causal, from the logarithms of features: for norms whose features no float64 can hold."""
    logits = (log_q[..., :, None, :] + log_k[..., None, :, :]).logsumexp(-1)
    later = torch.ones(logits.shape[-2:], dtype=torch.bool).triu(1)
    return logits.masked_fill(later, -torch.inf).softmax(-1) @ v
