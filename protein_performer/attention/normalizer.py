"""From sums over keys to outputs.

Shapes: B batch, H heads, L positions, D head width.
"""

import torch
from torch import Tensor

from protein_performer.attention.features import FeatureMap

GUARD = 1e-6


def row_factor(
    normalizer: Tensor, log_scale: Tensor, features: FeatureMap, renormalize: bool
) -> Tensor:
    """What a row of sums 2^-log_scale sum_j phi(q).phi(k_j) v_j is multiplied with.

    The inverse of its normaliser, and zero where that vanishes: in a row without tokens, or in one
    where every term has underflowed (`linear_rows`). Kernels of either sign may have a vanishing
    normaliser for other rows too; they get the authors' guard, R + 2 GUARD where |R| <= GUARD
    (Choromanski et al. 2021, appendix A.3), and may diverge. Without renormalisation: what was
    taken out of the row.
    """
    if not renormalize:
        return torch.exp2(log_scale)
    if features.activation is not None and not features.activation.positive:
        return 1 / (normalizer + 2 * GUARD * (normalizer.abs() <= GUARD))
    # Nearer to the smallest number, terms that underflow would show, and 1 / normalizer overflow.
    visible = normalizer >= torch.finfo(normalizer.dtype).tiny ** 0.75
    return torch.where(visible, 1 / torch.where(visible, normalizer, 1.0), 0.0)
