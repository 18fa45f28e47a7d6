"""Feature maps: kernel(q, k) ~ phi(q).phi(k). A new map is one short function.

Shapes: B batch, H heads, D head width, M features.

Each function here turns projection rows w_r, (M, D) or (H, M, D) for a projection of each head,
into a `FeatureMap`, and is found by its name in `FEATURE_MAPS`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Activation:
    """An elementwise f with its derivative.

    Attributes:
        value: (u, out=None) -> f(u), in `out` where the function can.
        backward: (gradient of f(u), u) -> gradient of u; the former may be overwritten.
        positive: f(u) + epsilon > 0 for every u, so a normaliser cannot vanish.
        in_place: f(u) may overwrite u, since `backward` finds the same from f(u).
    """

    value: Callable[..., Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]
    positive: bool = True
    in_place: bool = False


@dataclass(frozen=True)
class FeatureMap:
    """phi(x)_r = sqrt(scale) exp(norm |x|^2) (f(weight_r.(gain x) + offset_r) + epsilon).

    Attributes:
        weight: (M, D) or (H, M, D).
        activation: f; None for the exponential, which is computed in the log domain.
        offset: None or broadcastable to (B, H, M).
        norm, gain, scale: a number, or (B, H) where they follow the data.
        epsilon: added to f; the exponential has none.
    """

    weight: Tensor
    activation: Activation | None = None
    offset: Tensor | None = None
    norm: float | Tensor = 0.0
    gain: float | Tensor = 1.0
    scale: float | Tensor = 1.0
    epsilon: float = 0.0

    def base2(self) -> "FeatureMap":
        """The same map with every exponent in base 2: exp2 costs half of exp on a CPU."""
        to_base2 = math.log2(math.e)
        if self.activation is not None:
            return replace(self, norm=self.norm * to_base2)
        offset = None if self.offset is None else self.offset * to_base2
        return replace(
            self, weight=self.weight * to_base2, offset=offset, norm=self.norm * to_base2
        )


def softmax(w: Tensor) -> FeatureMap:
    """exp(q.k / sqrt(D)) by positive features, SM+ (Choromanski et al. 2021, lemma 1).

    Differs from the authors' code: no epsilon is added, so nothing else reaches the ratio.
    """
    num_features, head_dim = w.shape[-2:]
    return FeatureMap(w * head_dim**-0.25, norm=-0.5 * head_dim**-0.5, scale=1 / num_features)


def hyperbolic(w: Tensor) -> FeatureMap:
    """SM^hyp+: positive features of w and -w, 2 M in all (Choromanski et al. 2021, lemma 1)."""
    return softmax(torch.cat([w, -w], dim=-2))


def trigonometric(w: Tensor) -> FeatureMap:
    """exp(q.k / sqrt(D)) by sines and cosines, 2 M features of either sign (ibid., section 2.3)."""
    num_features, head_dim = w.shape[-2:]
    phase = w.new_zeros(2 * num_features)
    phase[num_features:] = -math.pi / 2  # cos(u - pi/2) = sin(u)
    return FeatureMap(
        torch.cat([w, w], dim=-2) * head_dim**-0.25,
        activation=COS,
        offset=phase,
        norm=0.5 * head_dim**-0.5,
        scale=1 / num_features,
    )


def favor_plus_plus(w: Tensor, spread: float | Tensor) -> FeatureMap:
    """exp(q.k / sqrt(D)) by optimal positive features.

    Source: Likhosherstov et al. 2022, arXiv:2205.15317.
    f(w, x) = (1 - 4A)^(D/4) exp(A |w|^2 + sqrt(1 - 4A) w.x - |x|^2 / 2) with the A < 0 that
    minimises the variance at the given spread, so the features are bounded.

    Args:
        w: N(0, I_D) rows; the chi norms are part of the method.
        spread: mean |q + k|^2 / sqrt(D) over the pairs, a number or (B, H).
    """
    base = softmax(w)
    a = optimal_a(spread, w.shape[-1])
    squares = w.square().sum(-1)
    offset = a[..., None] * squares if isinstance(a, Tensor) else a * squares
    return FeatureMap(
        base.weight,
        offset=offset,
        norm=base.norm,
        gain=(1 - 4 * a) ** 0.5,
        scale=(1 - 4 * a) ** (w.shape[-1] / 2) * base.scale,
    )


def optimal_a(spread: float | Tensor, head_dim: int) -> float | Tensor:
    """The A of FAVOR++ with the least second moment, theorem 3.1 there for C = -1/2."""
    ratio = spread / head_dim * 2
    return (1 - ratio - ((ratio + 1) ** 2 + 4 * ratio) ** 0.5) / 16


def elementwise(activation: Activation, epsilon: float) -> Callable[[Tensor], FeatureMap]:
    """The generalised kernel of f: phi(x) = f(W x) + epsilon (ibid., section 2.2, appendix A.4).

    Like the authors' JAX code, and unlike their TensorFlow code and performer-pytorch, x is not
    scaled by D^-1/4 and phi not by M^-1/2. For ReLU this matters only beside epsilon.
    """
    return lambda w: FeatureMap(w, activation=activation, epsilon=epsilon)


def _gelu_slope(u: Tensor) -> Tensor:
    density = torch.exp(-0.5 * u * u) / math.sqrt(2 * math.pi)
    return 0.5 * (1 + torch.erf(u / math.sqrt(2))) + u * density


RELU = Activation(
    lambda u, out=None: torch.clamp_min(u, 0, out=out),
    lambda g, u: torch.ops.aten.threshold_backward.grad_input(g, u, 0, grad_input=g),
    in_place=True,
)
SIGMOID = Activation(torch.sigmoid, lambda g, u: g * u.sigmoid() * (-u).sigmoid())
ABS = Activation(torch.abs, lambda g, u: g * u.sign())
ELU_PLUS_ONE = Activation(lambda u, out=None: F.elu(u) + 1, lambda g, u: g * u.clamp(max=0).exp())
GELU = Activation(lambda u, out=None: F.gelu(u), lambda g, u: g * _gelu_slope(u), positive=False)
COS = Activation(torch.cos, lambda g, u: -g * u.sin(), positive=False)
TANH = Activation(torch.tanh, lambda g, u: g * (1 - u.tanh() ** 2), positive=False)
IDENTITY = Activation(lambda u, out=None: u, lambda g, u: g, positive=False)

FEATURE_MAPS: dict[str, Callable[[Tensor], FeatureMap]] = {
    "softmax": softmax,
    "hyperbolic": hyperbolic,
    "trigonometric": trigonometric,
    "relu": elementwise(RELU, 1e-3),
    "sigmoid": elementwise(SIGMOID, 1e-3),
    "exp": lambda w: FeatureMap(w),  # its epsilon of 1e-3 would not survive the log domain
    "abs": elementwise(ABS, 1e-3),
    "gelu": elementwise(GELU, 1e-3),
    "cos": elementwise(COS, 1e-3),
    "tanh": elementwise(TANH, 1e-3),
    "identity": elementwise(IDENTITY, 1e-3),
    "elu+1": elementwise(ELU_PLUS_ONE, 0.0),  # Katharopoulos et al. 2020, arXiv:2006.16236
}
