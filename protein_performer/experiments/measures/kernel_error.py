"""Errors of the kernel's estimators, measured beside the formulas of their theory.

- Figure 2: how much larger the mean squared error of trigonometric features is than that of
  positive ones, against the angle between x and y and their length.
- Theorem 1: the regularised kernel SMREG, with its closed form, is a lower bound of softmax's.

Source: Choromanski et al. 2021, arXiv:2009.14794: section 2.3 and lemma 2 (errors), appendix F
(theorem 1 and its proof). x and y are scaled as there, so that the kernel is exp(x.y).
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from protein_performer.attention.favor.favor import Favor
from protein_performer.attention.protocol import LayerSpec

Row = dict[str, Any]


def estimates(
    x: Tensor, y: Tensor, *, draws: int, num_features: int, seed: int, **options: Any
) -> Tensor:
    """phi(x).phi(y), an independent draw of features each time.

    Without its normaliser, attention to a single key whose value is one is the kernel's estimate;
    heads with projections of their own are the draws.

    Args:
        x, y: (D,) float64, scaled.
        draws: number of independent estimates.
        num_features: M of each.
        seed: of the draws.
        options: further ones of `Favor`.

    Returns: (draws,) float64.
    """
    dim = len(x)
    spec = LayerSpec(num_heads=draws, head_dim=dim, causal=False, seed=seed)
    favor = Favor(
        spec, num_features=num_features, per_head=True, normalize=False, **options
    ).double()
    q, k = (each.mul(dim**0.25).expand(1, draws, 1, dim) for each in (x, y))
    value = torch.ones(1, draws, 1, dim, dtype=torch.float64)
    with torch.inference_mode():
        output: Tensor = favor(q, k, value, key_mask=None)
    return output[0, :, 0, 0]


def pair(dim: int, length: float, angle: float) -> tuple[Tensor, Tensor]:
    """Two vectors of that length with that angle between them, (D,) float64 each."""
    x, y = torch.zeros(2, dim, dtype=torch.float64)
    x[0] = length
    y[0], y[1] = length * math.cos(angle), length * math.sin(angle)
    return x, y


def trigonometric_error(x: Tensor, y: Tensor, num_features: int) -> float:
    """Mean squared error of iid trigonometric features (lemma 2)."""
    apart = (x - y).square().sum()
    together = (x + y).square().sum()
    kernel = torch.exp(x @ y)
    return float(together.exp() / kernel**2 * (1 - (-apart).exp()) ** 2 / (2 * num_features))


def positive_error(x: Tensor, y: Tensor, num_features: int) -> float:
    """Mean squared error of iid positive features (lemma 2)."""
    together = (x + y).square().sum()
    kernel = torch.exp(x @ y)
    return float(together.exp() * kernel**2 * (1 - (-together).exp()) / num_features)


def smreg_share(x: Tensor, y: Tensor, terms: int = 400) -> float:
    """SMREG(x, y) / SM(x, y) by the series in the proof of theorem 1.

    e^-w sum_k w^k / k! D^k / (D (D + 2) ... (D + 2k - 2)) with w = |x + y|^2 / 2: the moments of a
    direction on the sphere of radius sqrt(D) against those of a Gaussian one.
    """
    dim, w = len(x), float((x + y).square().sum() / 2)
    term = total = math.exp(-w)
    for k in range(1, terms):
        term *= w / k * dim / (dim + 2 * k - 2)
        total += term
    return total


def utility(
    lengths: Sequence[float], angles: Sequence[float], *, dim: int, draws: int, seed: int
) -> list[Row]:
    """Figure 2: error of trigonometric over error of positive features, M = 1.

    Args:
        lengths, angles: the grid; at an angle of pi positive features have no error at all.
        dim: D.
        draws: of each measured error.
        seed: of the draws.

    Returns: a row for each point, with the ratio of the formulas and that of measured errors.
    """
    rows = []
    for length in lengths:
        for angle in angles:
            x, y = pair(dim, length, angle)
            kernel = torch.exp(x @ y)
            measured = {
                name: float(
                    estimates(
                        x,
                        y,
                        draws=draws,
                        num_features=1,
                        seed=seed,
                        feature_map=name,
                        projection="iid",
                        **options,
                    )
                    .sub(kernel)
                    .square()
                    .mean()
                )
                for name, options in (("trigonometric", {"epsilon": 0.0}), ("softmax", {}))
            }
            theory = trigonometric_error(x, y, 1) / positive_error(x, y, 1)
            rows.append(
                {
                    "length": length,
                    "angle": angle,
                    "theory": theory,
                    "measured": measured["trigonometric"] / measured["softmax"],
                }
            )
    return rows


def lower_bound(
    lengths: Sequence[float], dims: Sequence[int], *, draws: int, seed: int
) -> list[Row]:
    """Theorem 1: SMREG over SM, by the closed form and measured, for x = y.

    Returns: a row for each (D, length), with four standard errors of the measured mean.
    """
    rows = []
    for dim in dims:
        for length in lengths:
            x, y = pair(dim, length, 0.0)
            ratio = estimates(
                x,
                y,
                draws=draws,
                num_features=dim,
                seed=seed,
                feature_map="softmax",
                projection="orthogonal",
                row_norms="sqrt_d",
            ) / torch.exp(x @ y)
            rows.append(
                {
                    "dim": dim,
                    "length": length,
                    "closed_form": smreg_share(x, y),
                    "measured": float(ratio.mean()),
                    "four_errors": float(4 * ratio.std() / math.sqrt(draws)),
                }
            )
    return rows
