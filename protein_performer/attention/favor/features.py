"""Feature maps: kernel(q, k) ~ phi(q).phi(k). Read after `favor.py`. A new map is one function.

Shapes: B batch, H heads, L positions, D head width, M features.

Each map turns projection rows w_r, (M, D) or (H, M, D) for a projection of each head, into a
`FeatureMap`, and is found by its name in `FEATURE_MAPS`. A new elementwise kernel is one entry:
`FEATURE_MAPS["softplus"] = elementwise(Activation(lambda u, out=None: F.softplus(u)))`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from protein_performer.attention.padding import zero_padding


@dataclass(frozen=True)
class Activation:
    """An elementwise f.

    Attributes:
        value: (u, out=None) -> f(u), in `out` where the function can.
        derivative: (gradient of f(u), u) -> gradient of u; the former may be overwritten. None
            leaves it to autograd, which costs another f(u).
        positive: f(u) + epsilon > 0 for every u, so a normalizer cannot vanish.
        in_place: f(u) may overwrite u, since `derivative` finds the same from f(u).
    """

    value: Callable[..., Tensor]
    derivative: Callable[[Tensor, Tensor], Tensor] | None = None
    positive: bool = True
    in_place: bool = False

    def backward(self, grad: Tensor, u: Tensor) -> Tensor:
        """From the gradient of f(u), which may be overwritten, to that of u."""
        if self.derivative is not None:
            return self.derivative(grad, u)
        with torch.enable_grad():
            leaf = u.detach().requires_grad_()
            (d_u,) = torch.autograd.grad(self.value(leaf), leaf, grad)
        return d_u


@dataclass(frozen=True)
class FeatureMap:
    """phi(x)_r = sqrt(scale) exp(norm |y|^2) (f(weight_r.y + offset_r) + epsilon), y = gain x.

    Attributes:
        weight: (M, D) or (H, M, D).
        activation: f; None for the exponential, which is computed in the log domain.
        offset: None or broadcastable to (B, H, M).
        norm, gain, scale: a number, or (B, H) where they follow the data.
        epsilon: added to f; of the exponential, see `floored`.
    """

    weight: Tensor
    activation: Activation | None = None
    offset: Tensor | None = None
    norm: float | Tensor = 0.0
    gain: float | Tensor = 1.0
    scale: float | Tensor = 1.0
    epsilon: float = 0.0

    def gained(self, x: Tensor) -> Tensor:
        """(B, H, L, D) -> y, as exact as the weight unless it is x itself."""
        if isinstance(self.gain, Tensor):
            return x.to(self.weight.dtype) * self.gain[..., None, None]
        return x if self.gain == 1 else x.to(self.weight.dtype) * self.gain

    def floored(self, u: Tensor) -> Tensor:
        """log2 of the exponential features 2^u (..., M) with epsilon added to them.

        2^u_r + epsilon max_s 2^u_s; the maximum is a constant to the gradient, as the authors' is.
        Theirs runs over all keys, padding and later ones included. Ours is of one query or one key
        alone, so that nothing else of the sequence reaches its features, and a smaller key has a
        lower floor.
        """
        if self.epsilon == 0:
            return u
        peak = u.detach().amax(-1, keepdim=True)
        return (torch.exp2(u - peak) + self.epsilon).log2() + peak

    def of_row(self, row: int) -> "FeatureMap":
        """The map of one row of the batch, as a batch of its own."""
        at = slice(row, row + 1)
        offset = self.offset
        norm, gain, scale = (
            x[at] if isinstance(x, Tensor) else x for x in (self.norm, self.gain, self.scale)
        )
        if offset is not None and offset.dim() == 3:
            offset = offset[at]
        return replace(self, offset=offset, norm=norm, gain=gain, scale=scale)

    def base2(self) -> "FeatureMap":
        """The same map with every exponent in base 2: exp2 costs half of exp on a CPU."""
        to_base2 = math.log2(math.e)
        if self.activation is not None:
            return replace(self, norm=self.norm * to_base2)
        offset = None if self.offset is None else self.offset * to_base2
        return replace(
            self, weight=self.weight * to_base2, offset=offset, norm=self.norm * to_base2
        )


class Pairs(NamedTuple):
    """Queries and keys of a call, for maps that adapt to them.

    Statistics are of each row and head apart and of tokens only, so neither padding nor batch mates
    matter. They are constants to the gradient: any value leaves the kernel's estimate unbiased.
    """

    q: Tensor  # (B, H, L, D)
    k: Tensor
    key_mask: Tensor | None
    given_spread: float | None = None

    @torch.no_grad()
    def spread(self) -> float | Tensor:
        """The given number, or (B, H): mean of |q_i + k_j|^2 / sqrt(D) over all pairs of tokens.

        It is |q|^2 + 2 q.k + |k|^2 in the mean, so it costs one pass over the positions.
        """
        if self.given_spread is not None:
            return self.given_spread
        q, k = (zero_padding(exact(x), self.key_mask) for x in (self.q, self.k))
        count = torch.tensor(q.shape[-2], device=q.device)
        if self.key_mask is not None:
            count = self.key_mask.sum(-1).clamp_min(1)[:, None]  # (B, 1)
        squares = (q.square() + k.square()).sum((-1, -2)) / count
        products = (q.sum(-2) * k.sum(-2)).sum(-1) / count / count
        return (squares + 2 * products) / math.sqrt(q.shape[-1])

    def balanced(self) -> "Pairs":
        """SADERF: the same products q.k, from q psi and k / psi that spread alike.

        psi_d = (sum_j k_jd^2 / sum_i q_id^2)^(1/4), of each dimension d; a dimension that is zero
        throughout keeps its scale. Source: Likhosherstov et al. 2023, arXiv:2302.00787, section 4.
        """
        q, k = exact(self.q), exact(self.k)
        with torch.no_grad():
            q_squares = zero_padding(q, self.key_mask).square().sum(-2, keepdim=True)
            k_squares = zero_padding(k, self.key_mask).square().sum(-2, keepdim=True)
            tiny = torch.finfo(q.dtype).tiny
            known = (q_squares > tiny) & (k_squares > tiny)
            ratio = torch.where(known, k_squares, 1.0) / torch.where(known, q_squares, 1.0)
            psi = ratio.pow(0.25)
        return self._replace(q=q * psi, k=k / psi)


def exact(x: Tensor) -> Tensor:
    """In float32, or in float64 if it is that."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


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
    gain = (1 - 4 * a) ** 0.5
    return replace(
        base,
        offset=offset,
        norm=base.norm / gain**2,  # of x, not of gain x
        gain=gain,
        scale=(1 - 4 * a) ** (w.shape[-1] / 2) * base.scale,
    )


def optimal_a(spread: float | Tensor, head_dim: int) -> float | Tensor:
    """The A of FAVOR++ with the least second moment, theorem 3.1 there for C = -1/2."""
    ratio = spread / head_dim * 2
    return (1 - ratio - ((ratio + 1) ** 2 + 4 * ratio) ** 0.5) / 16


MakeFeatures = Callable[[Tensor, Pairs], FeatureMap]


def of_rows(make: Callable[[Tensor], FeatureMap]) -> MakeFeatures:
    """A map that does not adapt to queries and keys."""
    return lambda w, pairs: make(w)


def elementwise(activation: Activation, epsilon: float = 1e-3) -> MakeFeatures:
    """The generalised kernel of f: phi(x) = f(W x) + epsilon (ibid., section 2.2, appendix A.4).

    Like the authors' JAX code, and unlike their TensorFlow code and performer-pytorch, x is not
    scaled by D^-1/4 and phi not by M^-1/2. For ReLU this matters only beside epsilon.
    """
    return of_rows(lambda w: FeatureMap(w, activation=activation, epsilon=epsilon))


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
# F.elu(u) + 1 is exp(u) - 1 + 1, which float32 rounds to nothing from u = -17 on.
ELU_PLUS_ONE = Activation(
    lambda u, out=None: torch.where(u > 0, u + 1, u.clamp(max=0).exp()),
    lambda g, u: g * u.clamp(max=0).exp(),
)
GELU = Activation(lambda u, out=None: F.gelu(u), lambda g, u: g * _gelu_slope(u), positive=False)
COS = Activation(torch.cos, lambda g, u: -g * u.sin(), positive=False)
TANH = Activation(torch.tanh, lambda g, u: g * (1 - u.tanh() ** 2), positive=False)
IDENTITY = Activation(lambda u, out=None: u, lambda g, u: g, positive=False)

SOFTMAX_KERNELS: dict[str, MakeFeatures] = {
    "softmax": of_rows(softmax),
    "hyperbolic": of_rows(hyperbolic),
    "trigonometric": of_rows(trigonometric),
    "favor++": lambda w, pairs: favor_plus_plus(w, pairs.spread()),
}
FEATURE_MAPS: dict[str, MakeFeatures] = {
    **SOFTMAX_KERNELS,
    "relu": elementwise(RELU),
    "sigmoid": elementwise(SIGMOID),
    "exp": of_rows(FeatureMap),  # an epsilon of 1e-3 would not survive the log domain
    "abs": elementwise(ABS),
    "gelu": elementwise(GELU),
    "cos": elementwise(COS),
    "tanh": elementwise(TANH),
    "identity": elementwise(IDENTITY),
    "elu+1": elementwise(ELU_PLUS_ONE, 0.0),  # Katharopoulos et al. 2020, arXiv:2006.16236
}
