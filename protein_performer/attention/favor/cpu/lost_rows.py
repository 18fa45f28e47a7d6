"""Rows of causal attention that no common scale fits: in the log domain, pair by pair.

Shapes: B batch, H heads, L positions, D head width, M features, R rows.

`causal` takes the largest feature out of each query and of each key. Where q and k are so
large that the product of what is left underflows for every key that a row may see (in float32 from
a norm of about 100 on, for directions at random), the row's normalizer is lost. Here
log sum_r phi(q_i)_r phi(k_j)_r comes from its own largest term, for those rows only: O(R L M).
"""

import math

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from protein_performer.attention.favor.features import FeatureMap
from protein_performer.attention.favor.linear import Operands

ELEMENTS = 2**22  # of the largest temporary


def restore_rows(out: Tensor, lost: Tensor, operands: Operands) -> Tensor:
    """Fill in lost rows, with gradients.

    Args:
        out: (B, H, L, D), zeros in lost rows.
        lost: (B, H, L) bool, some of them True.
        operands: with exponential features.
    """
    q, k, v, features, key_mask, _ = operands
    restored = []
    for row, head in lost.any(-1).nonzero().tolist():
        rows = lost[row, head].nonzero()[:, 0]
        padding = None if key_mask is None else ~key_mask[row]
        log_q = _log_features(q[row, head], features, row, head)
        norm = features.norm
        norm = norm[row, head] if isinstance(norm, Tensor) else norm
        key = k[row, head] if padding is None else k[row, head].masked_fill(padding[:, None], 0)
        value = v[row, head] if padding is None else v[row, head].masked_fill(padding[:, None], 0)
        log_k = _log_features(key, features, row, head)
        log_k = log_k + norm * key.square().sum(-1, keepdim=True)
        for some in torch.split(rows, max(1, ELEMENTS // log_k.numel())):
            arguments = (log_q[some], log_k, value, some, padding)
            restored.append(
                checkpoint(_attend, *arguments, use_reentrant=False, preserve_rng_state=False)
            )
    # In the order of `lost`: batch, head, position.
    return out.masked_scatter(lost[..., None], torch.cat(restored))


def _attend(
    log_q: Tensor, log_k: Tensor, v: Tensor, rows: Tensor, padding: Tensor | None
) -> Tensor:
    """(R, M), (L, M) and (L, D) -> (R, D)."""
    pairs = math.log(2) * (log_q[:, None] + log_k)  # (R, L, M)
    unseen = torch.arange(len(v)) > rows[:, None]
    if padding is not None:
        unseen = unseen | padding
    return pairs.logsumexp(-1).masked_fill(unseen, -torch.inf).softmax(-1) @ v


def _log_features(x: Tensor, features: FeatureMap, row: int, head: int) -> Tensor:
    weight, offset = features.weight, features.offset
    u = x @ (weight if weight.dim() == 2 else weight[head]).mT
    if offset is None:
        return u
    index = (row, head)[3 - offset.dim() :]
    return u + offset[index]
