"""From sums over keys to outputs."""

import torch
from torch import Tensor

from protein_performer.attention.favor.features import FeatureMap

GUARD = 1e-6


def divisor(normalizer: Tensor, features: FeatureMap) -> Tensor:
    """What a row of sums is divided by: its normaliser, made safe.

    Infinite, so that outputs and gradients are zero, where the normaliser vanishes: in a row
    without tokens, or in one where every term has underflowed (`linear_rows`). Kernels of either
    sign may have a vanishing normaliser for other rows too; they get the authors' guard,
    R + 2 GUARD where |R| <= GUARD (Choromanski et al. 2021, appendix A.3), and may diverge.
    """
    if features.activation is not None and not features.activation.positive:
        return normalizer + 2 * GUARD * (normalizer.abs() <= GUARD)
    # Nearer to the smallest number, terms that underflow would show, and gradients overflow.
    visible = normalizer >= torch.finfo(normalizer.dtype).tiny ** 0.75
    return torch.where(visible, normalizer, torch.inf)
