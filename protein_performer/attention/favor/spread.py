"""How far queries and keys of a sequence spread: the statistics that FAVOR++ and SADERF adapt to.

Shapes: B batch, H heads, L positions, D head width.

Each row and head has its own, of its tokens only, so neither padding nor batch mates matter. They
are constants to the gradient: any value leaves the kernel's estimate unbiased.
"""

import math

import torch
from torch import Tensor

from protein_performer.attention.padding import zero_padding


@torch.no_grad()
def mean_spread(q: Tensor, k: Tensor, key_mask: Tensor | None) -> Tensor:
    """(B, H): mean of |q_i + k_j|^2 / sqrt(D) over all pairs of tokens.

    It is |q|^2 + 2 q.k + |k|^2 in the mean, so it costs one pass over the positions.
    """
    q, k = zero_padding(q, key_mask), zero_padding(k, key_mask)
    count = torch.tensor(q.shape[-2], device=q.device)
    if key_mask is not None:
        count = key_mask.sum(-1).clamp_min(1)[:, None]  # (B, 1)
    squares = (q.square() + k.square()).sum((-1, -2)) / count
    products = (q.sum(-2) * k.sum(-2)).sum(-1) / count / count
    return (squares + 2 * products) / math.sqrt(q.shape[-1])


@torch.no_grad()
def balance(q: Tensor, k: Tensor, key_mask: Tensor | None) -> Tensor:
    """(B, H, 1, D): the factor of each dimension of q, and divisor of k, that SADERF takes.

    Psi_d = (sum_j k_jd^2 / sum_i q_id^2)^(1/4): the products q.k stay, and both sides then spread
    alike in each dimension. Source: Likhosherstov et al. 2023, arXiv:2302.00787, section 4.
    A dimension that is zero throughout keeps its scale.
    """
    q_squares = zero_padding(q, key_mask).square().sum(-2, keepdim=True)
    k_squares = zero_padding(k, key_mask).square().sum(-2, keepdim=True)
    tiny = torch.finfo(q.dtype).tiny
    known = (q_squares > tiny) & (k_squares > tiny)
    ratio = torch.where(known, k_squares, 1.0) / torch.where(known, q_squares, 1.0)
    return ratio.pow(0.25)
