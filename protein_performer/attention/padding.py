"""Padding moved to the right end of each row, which makes it harmless to whatever reads in order.

Shapes: B batch, H heads, L positions, D head width.
"""

import torch
from torch import Tensor


def tokens_first(key_mask: Tensor) -> Tensor:
    """(B, L) int64: for each row the positions of its tokens, in order, then those of its padding.

    `gather(x, tokens_first(key_mask))` moves the padding to the right, and position r of the
    result is the row's token of rank r, wherever the padding stood.

    >>> tokens_first(torch.tensor([[False, True, True]]))
    tensor([[1, 2, 0]])
    """
    # Differs from a sort of the mask in cost only: a stable partition is two running sums.
    num_tokens = key_mask.sum(-1, keepdim=True)
    token_rank = key_mask.cumsum(-1) - 1
    padding_rank = num_tokens + (~key_mask).cumsum(-1) - 1
    rank = torch.where(key_mask, token_rank, padding_rank)
    positions = torch.arange(key_mask.shape[-1], device=key_mask.device).expand_as(rank)
    return torch.empty_like(rank).scatter_(-1, rank, positions)


def gather(x: Tensor, order: Tensor) -> Tensor:
    """(B, H, L, D) by (B, T) -> (B, H, T, D): result[b, h, i] is x[b, h, order[b, i]]."""
    return x.gather(2, order[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3]))


def ungather(x: Tensor, order: Tensor) -> Tensor:
    """Undo `gather` with the same order."""
    return torch.zeros_like(x).scatter(2, order[:, None, :, None].expand_as(x), x)


def zero_padding(x: Tensor, key_mask: Tensor | None) -> Tensor:
    """(B, H, L, D) with zeros, and no gradient, at padding; x itself when there is none."""
    return x if key_mask is None else x.masked_fill(~key_mask[:, None, :, None], 0.0)
