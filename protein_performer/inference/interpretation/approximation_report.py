"""How far FAVOR+ is from exact attention on a checkpoint's own queries, keys and values.

Beside it the error of uniform attention, the mean of the values, which looks at no query and no
key: an approximation that is not better says nothing of its model.

Shapes: B batch, H heads, L tokens, D head width.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from protein_performer.attention.favor.favor import Favor
from protein_performer.attention.protocol import LayerSpec
from protein_performer.attention.softmax import Softmax
from protein_performer.inference.batched_model import BatchedModel
from protein_performer.inference.batcher import Codes, PaddedRows
from protein_performer.inference.interpretation.attention_maps import (
    Projections,
    map_projections,
    projections,
)

MAPS = ("softmax", "hyperbolic", "trigonometric", "favor++")
UNIFORM = "uniform"


def approximation_report(
    model: BatchedModel,
    codes: list[Codes],
    *,
    features: Sequence[int] = (64, 256, 1024),
    draws: int = 3,
) -> list[dict[str, Any]]:
    """Relative error |approximate - exact| / |exact| of each layer's output, over all its heads.

    Args:
        codes: proteins.
        features: numbers of features of phi that are compared.
        draws: of each; the errors are of the mean square over draws.

    Returns: rows of `layer`, `map` (or `uniform`), `features` and `error`. favor++ of a causal
        model is told the mean square of |q + k| that it would measure in a bidirectional one.
    """
    contestants = [(UNIFORM, 0), *((name, number) for name in MAPS for number in features)]

    def squares(rows: PaddedRows) -> Tensor:
        """(layers, contestants + 1): squared errors, and the square of the exact output."""
        return torch.stack(
            [
                _squares(model, layer, inputs, rows, contestants, draws)
                for layer, inputs in enumerate(projections(model, rows))
            ]
        )

    totals = torch.stack(map_projections(model, codes, squares)).sum(0)
    errors = (totals[:, :-1] / totals[:, -1:]).sqrt()
    return [
        {"layer": layer + 1, "map": name, "features": number, "error": float(errors[layer, i])}
        for layer in range(len(errors))
        for i, (name, number) in enumerate(contestants)
    ]


def _squares(
    model: BatchedModel,
    layer: int,
    inputs: Projections,
    rows: PaddedRows,
    contestants: Sequence[tuple[str, int]],
    draws: int,
) -> Tensor:
    q, k, v = (each.double() for each in inputs)
    causal = model.network.causal
    exact = _apply(Softmax(LayerSpec(q.shape[1], q.shape[-1], causal)), q, k, v, rows)
    squares = []
    for name, number in contestants:
        errors = []
        for draw in range(1 if name == UNIFORM else draws):
            spec = LayerSpec(q.shape[1], q.shape[-1], causal, layer=layer, seed=draw)
            if name == UNIFORM:
                approximate = _apply(Softmax(spec), q * 0, k, v, rows)
            else:
                spread = _spread(q, k, rows) if causal and name == "favor++" else None
                pairs = name in ("hyperbolic", "trigonometric")  # two features a direction
                directions = number // 2 if pairs else number
                favor = Favor(spec, feature_map=name, num_features=directions, spread=spread)
                approximate = _apply(favor.to(q.device), q, k, v, rows)
            errors.append((approximate - exact).square().sum())
        squares.append(torch.stack(errors).mean())
    return torch.stack([*squares, exact.square().sum()]).cpu()


def _apply(mechanism: Any, q: Tensor, k: Tensor, v: Tensor, rows: PaddedRows) -> Tensor:
    """(B, H, L, D), zeros at padding."""
    output: Tensor = mechanism.double()(q, k, v, key_mask=rows.mask)
    return output


def _spread(q: Tensor, k: Tensor, rows: PaddedRows) -> float:
    """The mean of |q_i + k_j|^2 / sqrt(D) over tokens of all rows and heads."""
    if rows.mask is not None:
        tokens = rows.mask[:, None].expand(*q.shape[:3])
        q, k = q[tokens], k[tokens]
    else:
        q, k = q.flatten(0, 2), k.flatten(0, 2)
    mean = (q.square().sum(-1) + k.square().sum(-1)).mean() + 2 * q.mean(0) @ k.mean(0)
    return float(mean / q.shape[-1] ** 0.5)
