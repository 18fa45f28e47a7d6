"""Errors of FAVOR+ against exact attention, in float64.

- Figure 4: error of the attention's output against the number of features, by map and by coupling
  of the directions, beside the error of uniform attention, which looks at no query and no key.
- Figure 14: error of a whole model's output against its depth, with the exact model's weights.

Source: Choromanski et al. 2021, arXiv:2009.14794, section 4.2 and appendix D.2. Its inputs are
"appropriately normalized random matrices"; ours are Gaussian, of a named standard deviation.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from protein_performer.attention.favor.favor import Favor
from protein_performer.attention.protocol import LayerSpec
from protein_performer.attention.softmax import Softmax
from protein_performer.model.build import build_model
from protein_performer.model.config import ModelConfig

Row = dict[str, Any]

MAPS = ("trigonometric", "softmax", "hyperbolic", "favor++")
COUPLINGS = ("iid", "orthogonal", "simplex")
_VOCABULARY = 30  # tokens of the models whose depth varies; what they stand for does not matter


def against_features(
    features: Sequence[int],
    *,
    length: int,
    dim: int,
    std: float,
    samples: int,
    seed: int,
) -> list[Row]:
    """Figure 4: mean squared error of attention's output, over draws of inputs and of features.

    Args:
        features: numbers of features phi(x) that are compared. Trigonometric and hyperbolic maps
            have two for each direction, so they get half as many directions: equal cost.
        length, dim: L and D of one bidirectional head.
        std: of the entries of q and k; values have 1.
        samples: draws.
        seed: of all of them.

    Returns: a row for each (map, coupling, number), with the standard error of the mean over draws;
        and the row `uniform`, whose output is the mean of the values.
    """
    errors: dict[tuple[str, str, int], list[float]] = {}
    for sample in range(samples):
        q, k, v = _inputs(length, dim, std, seed, sample)
        exact = _exact(q, k, v)
        uniform = v.mean(2, keepdim=True).expand_as(v)
        errors.setdefault(("uniform", "", 0), []).append(_mse(uniform, exact))
        for name in MAPS:
            for coupling in COUPLINGS:
                for number in features:
                    directions = number // 2 if name in ("trigonometric", "hyperbolic") else number
                    spec = LayerSpec(1, dim, causal=False, layer=sample, seed=seed)
                    favor = Favor(
                        spec, feature_map=name, projection=coupling, num_features=directions
                    ).double()
                    with torch.inference_mode():
                        error = _mse(favor(q, k, v, key_mask=None), exact)
                    errors.setdefault((name, coupling, number), []).append(error)
    return [
        {"map": name, "coupling": coupling, "features": number, **_summary(values)}
        for (name, coupling, number), values in errors.items()
    ]


def against_depth(
    depths: Sequence[int],
    *,
    length: int,
    d_model: int,
    num_heads: int,
    num_features: int,
    samples: int,
    seed: int,
) -> list[Row]:
    """Figure 14: error of a Performer that has an exact Transformer's untrained weights.

    Returns: a row for each depth: the relative error of the last hidden states.
    """
    rows = []
    for depth in depths:
        errors = []
        for sample in range(samples):
            torch.manual_seed(seed + sample)
            exact, approximate = (
                build_model(_config(depth, d_model, num_heads, attention, sample), _VOCABULARY)
                .double()
                .eval()
                for attention in _attentions(num_features)
            )
            weights = exact.state_dict()
            approximate.load_state_dict(approximate.state_dict() | weights)
            tokens = torch.randint(4, 24, (1, length))
            with torch.inference_mode():
                wanted, got = exact.hidden(tokens), approximate.hidden(tokens)
            errors.append(float((got - wanted).norm() / wanted.norm()))
        rows.append({"layers": depth, **_summary(errors)})
    return rows


def _attentions(num_features: int) -> tuple[dict[str, Any], dict[str, Any]]:
    return (
        {"_target_": f"{Softmax.__module__}.{Softmax.__qualname__}"},
        {
            "_target_": f"{Favor.__module__}.{Favor.__qualname__}",
            "feature_map": "softmax",
            "num_features": num_features,
        },
    )


def _config(
    depth: int, d_model: int, num_heads: int, attention: dict[str, Any], seed: int
) -> ModelConfig:
    return ModelConfig.from_plain(
        {
            "name": "of some depth",
            "attention": attention,
            "d_model": d_model,
            "num_layers": depth,
            "num_heads": num_heads,
            "d_ff": 4 * d_model,
            "causal": False,
            "seed": seed,
        }
    )


def _inputs(
    length: int, dim: int, std: float, seed: int, sample: int
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1000 * seed + sample)
    q, k, v = torch.randn(3, 1, 1, length, dim, generator=generator, dtype=torch.float64)
    return std * q, std * k, v


def _exact(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    exact = Softmax(LayerSpec(1, q.shape[-1], causal=False))
    with torch.inference_mode():
        output: Tensor = exact(q, k, v, key_mask=None)
    return output


def _mse(got: Tensor, wanted: Tensor) -> float:
    return float((got - wanted).square().mean())


def _summary(values: Sequence[float]) -> dict[str, float]:
    """Mean and its standard error."""
    all_values = torch.tensor(values, dtype=torch.float64)
    error = float(all_values.std() / len(values) ** 0.5) if len(values) > 1 else float("nan")
    return {"error": float(all_values.mean()), "standard_error": error}
