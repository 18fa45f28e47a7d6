"""FAVOR+ attention: softmax and other kernels in time and memory linear in the length.

Shapes: B batch, H heads, L positions, D head width, M features.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from protein_performer.attention import linear_batched
from protein_performer.attention.features import FEATURE_MAPS, FeatureMap
from protein_performer.attention.padding import zero_padding
from protein_performer.attention.projections import PROJECTIONS, fixed_norms, stream
from protein_performer.attention.protocol import LayerSpec
from protein_performer.errors import UserError


class Favor(nn.Module):
    """out_i = sum_j phi(q_i).phi(k_j) v_j / sum_j phi(q_i).phi(k_j), over the keys i may see.

    Args:
        spec: where the layer stands.
        feature_map: a name in `features.FEATURE_MAPS`.
        num_features: M, rows of the random projection; None where there is no projection.
        projection: `orthogonal`, `iid` or `simplex`; None applies the map to the heads as they are.
        row_norms: of the projection: `chi`, as of Gaussian rows, or `sqrt_d` (SMREG).
        per_head: a projection for each head, else one for the layer.
        renormalize: divide by the sum of the weights.
    """

    projection: Tensor
    redraw_count: Tensor

    def __init__(
        self,
        spec: LayerSpec,
        *,
        feature_map: str = "relu",
        num_features: int | None = 256,
        projection: str | None = "orthogonal",
        row_norms: Literal["chi", "sqrt_d"] = "chi",
        per_head: bool = False,
        renormalize: bool = True,
    ) -> None:
        super().__init__()
        if feature_map not in FEATURE_MAPS:
            raise UserError(
                f"feature_map: expected one of {', '.join(FEATURE_MAPS)}, got {feature_map!r}"
            )
        if projection is not None and projection not in PROJECTIONS:
            raise UserError(
                f"projection: expected null or one of {', '.join(PROJECTIONS)}, got {projection!r}"
            )
        if (projection is None) != (num_features is None):
            raise UserError(
                f"num_features and projection: both or neither, got {num_features} and {projection}"
            )
        self.spec = spec
        self.feature_map = feature_map
        self.projection_kind = projection
        self.row_norms = row_norms
        self.renormalize = renormalize
        rows = spec.head_dim if num_features is None else num_features
        heads = (spec.num_heads,) if per_head else ()
        self.register_buffer("projection", torch.empty(*heads, rows, spec.head_dim))
        self.register_buffer("redraw_count", torch.zeros((), dtype=torch.int64))
        self.redraw_(0)

    @torch.no_grad()
    def redraw_(self, count: int) -> None:
        """Draw the projection again, as a pure function of (seed, layer, count)."""
        self.redraw_count.fill_(count)
        rows, dim = self.projection.shape[-2:]
        if self.projection_kind is None:
            self.projection.copy_(torch.eye(dim))
            return
        draw = PROJECTIONS[self.projection_kind]
        generator = stream(self.spec.seed, self.spec.layer, count)
        heads = self.projection.shape[:-2]
        drawn = torch.stack([draw(rows, dim, generator) for _ in range(heads.numel())])
        if self.row_norms == "sqrt_d":
            drawn = fixed_norms(drawn)
        self.projection.copy_(drawn.view(self.projection.shape))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, key_mask: Tensor | None) -> Tensor:
        """(B, H, L, D) each -> (B, H, L, D); see `protocol.Attention`."""
        dtype = torch.float64 if q.dtype == torch.float64 else torch.float32
        with torch.autocast(q.device.type, enabled=False):
            out = self._attend(q.to(dtype), k.to(dtype), v.to(dtype), key_mask)
        return zero_padding(out, key_mask).to(v.dtype)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None) -> Tensor:
        features = FEATURE_MAPS[self.feature_map](self.projection.to(q.dtype)).base2()
        sums = linear_batched.causal if self.spec.causal else linear_batched.bidirectional
        packed = zero_padding(torch.cat([v, torch.ones_like(v[..., :1])], dim=-1), key_mask)
        k = zero_padding(k, key_mask)
        summed, scale = sums(q, k, packed, features, key_mask)
        if not self.renormalize:
            return summed[..., :-1] * _query_factor(q, features, scale)
        return summed[..., :-1] * _inverse(summed[..., -1:], features)


def _query_factor(q: Tensor, features: FeatureMap, scale: Tensor) -> Tensor:
    log_factor = scale + q.square().sum(-1) * features.norm
    return (torch.exp2(log_factor) * features.scale)[..., None]


def _inverse(normalizer: Tensor, features: FeatureMap) -> Tensor:
    """1 / normaliser, zero where it vanishes."""
    if features.activation is not None and not features.activation.positive:
        # The authors' guard: these normalisers may vanish, and may change sign.
        return 1 / (normalizer + 2e-6 * (normalizer.abs() <= 1e-6))
    visible = normalizer > torch.finfo(normalizer.dtype).tiny
    return torch.where(visible, 1 / torch.where(visible, normalizer, 1.0), 0.0)
