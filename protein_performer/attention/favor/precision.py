"""In which dtypes FAVOR+ computes: every such decision is made here.

Products of features, values and sums may be of bfloat16 operands: they are most of the work, and
rounding hardly harms them, since a row of outputs averages many. What stays exact:

- projections W x. Their errors are exponents: W rounded to bfloat16 moves softmax outputs by some
  0.6 %, W x rounded too by 2 %;
- normalizers, and sums over keys from product to product: float32 adds them.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from protein_performer.processor import has_bfloat16_tiles

WIDE = 64  # of heads: on a CPU, narrower ones lose by conversions what products gain


class Precision(NamedTuple):
    """The dtypes of one call.

    Attributes:
        exact: float32 or float64, of projections, sums, normalizers and gradients.
        operands: of products; bfloat16, or `exact`.
    """

    exact: torch.dtype
    operands: torch.dtype

    @property
    def rounds(self) -> bool:
        """Operands are rounded before products, and a product is when it is written."""
        return self.operands != self.exact

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        """A @ b, in `exact`."""
        if not self.rounds:
            return a @ b
        return (a.to(self.operands) @ b.to(self.operands)).to(self.exact)

    def sum_rows(self, weights: Tensor, values: Tensor) -> Tensor:
        """Weights (..., T, S) @ values (..., S, E), whose last column is that of normalizers.

        A row's sums and its normalizer have the same rounded weights, so that what rounding does to
        all of a row cancels.
        """
        if not self.rounds:
            return weights @ values
        weights = weights.to(self.operands)
        sums = self.product(weights, values[..., :-1])
        return torch.cat([sums, weights.to(self.exact) @ values[..., -1:]], dim=-1)

    def sum_keys(self, values: Tensor, phi: Tensor) -> Tensor:
        """Values (..., T, E) and phi (..., T, M) -> values.mT @ phi, (..., E, M)."""
        if not self.rounds:
            return values.mT @ phi
        return self.sum_rows(phi.mT, values).mT


def precision_of(q: Tensor, k: Tensor, v: Tensor, *, exact_projections: bool = True) -> Precision:
    """That of autocast, or without it that of the inputs; float32 where that is no slower.

    In float16 the answer is float32: its smallest number, 6e-8, is too near for features that are
    relative to the largest, and gradients would need scales of their own.
    """
    if q.dtype == torch.float64:
        return Precision(torch.float64, torch.float64)
    device = q.device.type
    if torch.is_autocast_enabled(device):
        asked = torch.get_autocast_dtype(device) == torch.bfloat16
    else:
        asked = q.dtype == k.dtype == v.dtype == torch.bfloat16
    rounds = asked and gains_from_bfloat16(q.device, q.shape[-1], exact_projections)
    return Precision(torch.float32, torch.bfloat16 if rounds else torch.float32)


def gains_from_bfloat16(device: torch.device, head_dim: int, exact_projections: bool) -> bool:
    """Whether products of features in bfloat16 make attention faster there.

    On a CPU it takes tiles (AMX). PyTorch has no product of bfloat16 operands into float32 there,
    so that W x is a product in float32 where it must be exact: for all maps but ReLU, which leaves
    little to gain at narrow heads.
    """
    if device.type != "cpu":
        return True
    return has_bfloat16_tiles(device) and (head_dim >= WIDE or not exact_projections)
