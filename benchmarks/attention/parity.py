"""Do we compute what performer-pytorch computes? Yes, up to its epsilons, and this shows it.

The peer adds 1e-4 to every softmax feature after its maxima are taken out, and 1e-6 to every causal
sum of keys' features. Here its formula is written out in float64 with the epsilons as arguments:
with the peer's it must be the peer, with none it must be our softmax kernel. What is between the
two is the epsilons' alone. For ReLU, both add 1e-3 to features that differ in scale by D^-1/4, so
ours is given the peer's epsilon in our scale.

Shapes: B batch, H heads, L positions, D head width, M features.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.attention import peers
from benchmarks.attention.sizes import Sizes
from protein_performer.attention.favor.favor import Favor
from protein_performer.attention.protocol import LayerSpec

SOFTMAX_EPSILON = 1e-4
RELU_EPSILON = 1e-3
CAUSAL_EPSILON = 1e-6


class Parity(NamedTuple):
    """Largest differences of outputs, relative to the largest output of the second of the two.

    Attributes:
        kernel, direction: what is compared.
        compiled: the peer runs on EPFL's compiled product.
        peer_to_formula: the peer, and the formula with the peer's epsilons.
        ours_to_formula: ours, and the formula without the epsilons that we leave out.
        peer_to_ours: as both stand.
    """

    kernel: str
    direction: str
    compiled: bool
    peer_to_formula: float
    ours_to_formula: float
    peer_to_ours: float


def peer_formula(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    projection: Tensor,
    *,
    kernel: str,
    causal: bool,
    epsilon: float,
    sum_epsilon: float,
) -> Tensor:
    """performer-pytorch's attention with the L x L weights written out, in float64.

    Args:
        q, k, v: (B, H, L, D).
        projection: (M, D).
        kernel: softmax or relu.
        epsilon: added to each feature.
        sum_epsilon: added to each sum of features of keys, if causal.

    Returns: (B, H, L, D) float64.
    """
    q, k, v, projection = (x.double() for x in (q, k, v, projection))
    num_features, head_dim = projection.shape
    scale = head_dim**-0.25
    u_q, u_k = (scale * x @ projection.mT for x in (q, k))
    if kernel == "softmax":
        half_norms = (0.5 * scale**2 * x.square().sum(-1, keepdim=True) for x in (q, k))
        peaks = u_q.amax(-1, keepdim=True), u_k.amax((-1, -2), keepdim=True)
        phi_q, phi_k = (
            num_features**-0.5 * ((u - half_norm - peak).exp() + epsilon)
            for u, half_norm, peak in zip((u_q, u_k), half_norms, peaks, strict=True)
        )
    else:
        phi_q, phi_k = (u.relu() + epsilon for u in (u_q, u_k))
    weights = phi_q @ phi_k.mT
    normalizer = weights.sum(-1, keepdim=True)
    if causal:
        weights = weights.tril()
        # The peer adds it to the sums of keys, before these meet the query.
        normalizer = weights.sum(-1, keepdim=True) + sum_epsilon * phi_q.sum(-1, keepdim=True)
    out: Tensor = weights @ v / normalizer
    return out


def parities(sizes: Sizes) -> list[Parity]:
    """Of both kernels in both directions, and of the compiled product where it was built."""
    rows = []
    for kernel in ("relu", "softmax"):
        rows += [parity(kernel, causal, sizes) for causal in (True, False)]
        if peers.is_importable(peers.COMPILED_PRODUCT):
            rows.append(parity(kernel, True, sizes, compiled=True))
    return rows


@torch.no_grad()
def parity(kernel: str, causal: bool, sizes: Sizes, *, compiled: bool = False) -> Parity:
    """Compare ours, the formula and the peer with the same features, on unit variance."""
    generator = torch.Generator().manual_seed(0)
    shape = (3, 1, sizes.heads, sizes.parity, sizes.head_dim)
    q, k, v = torch.randn(shape, generator=generator)
    is_relu = kernel == "relu"
    epsilon = RELU_EPSILON if is_relu else SOFTMAX_EPSILON
    ours = Favor(
        LayerSpec(sizes.heads, sizes.head_dim, causal),
        feature_map=kernel,
        num_features=sizes.features,
        epsilon=epsilon * sizes.head_dim**0.25 if is_relu else None,
    )
    peer = peers.performer_pytorch(
        kernel,
        causal=causal,
        head_dim=sizes.head_dim,
        num_features=sizes.features,
        compiled=compiled,
    )
    out_peer = peers.use_projection(peer, ours.projection)(q, k, v)
    out_ours = ours(q, k, v, key_mask=None)

    def formula(epsilon: float, sum_epsilon: float) -> Tensor:
        return peer_formula(
            *(q, k, v, ours.projection),
            kernel=kernel,
            causal=causal,
            epsilon=epsilon,
            sum_epsilon=sum_epsilon,
        )

    return Parity(
        kernel,
        "causal" if causal else "bidirectional",
        compiled,
        _difference(out_peer, formula(epsilon, CAUSAL_EPSILON)),
        _difference(out_ours, formula(epsilon if is_relu else 0.0, 0.0)),
        _difference(out_peer, out_ours),
    )


def _difference(a: Tensor, b: Tensor) -> float:
    a, b = a.double(), b.double()
    return float((a - b).abs().max() / b.abs().max())
