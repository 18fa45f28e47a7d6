"""The rivals' formulas, dense, in float64, one query at a time: written from the papers.

Imports nothing of the package. Arguments are (B, H, L, D) tensors and a (B, L) bool mask.
"""

import math

import torch
from torch import Tensor


def softmax_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor, causal: bool, window: int | None = None
) -> Tensor:
    """Vaswani et al. 2017: sum_j softmax_j(q_i . k_j / sqrt(D)) v_j over the visible tokens j.

    With a window W, token i sees the tokens j with |rank i - rank j| <= W.
    """
    out = torch.zeros_like(v)
    for b in range(q.shape[0]):
        tokens = mask[b].nonzero()[:, 0].tolist()
        for rank, i in enumerate(tokens):
            seen = [
                j
                for other, j in enumerate(tokens)
                if (not causal or other <= rank) and (window is None or abs(other - rank) <= window)
            ]
            for h in range(q.shape[1]):
                logits = k[b, h, seen] @ q[b, h, i] / math.sqrt(q.shape[-1])
                out[b, h, i] = torch.softmax(logits, 0) @ v[b, h, seen]
    return out
