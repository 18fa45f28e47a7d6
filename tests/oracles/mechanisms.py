"""The rivals' formulas, dense, in float64, one query at a time: written from the papers.

Imports nothing of the package. Arguments are (B, H, L, D) tensors and a (B, L) bool mask.
"""

import itertools
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


def reformer_buckets(q: Tensor, rotations: list[Tensor]) -> list[list[tuple[int, ...]]]:
    """Kitaev et al. 2020, section 2: the bucket of each of the (L, D) queries in each round.

    rotations: one or two of (D, R, columns); h(x) = argmax([x R; -x R]) of each.
    """
    rounds = rotations[0].shape[1]
    buckets: list[list[tuple[int, ...]]] = [[] for _ in range(rounds)]
    for r in range(rounds):
        for x in q:
            hashes = []
            for rotation in rotations:
                y = x @ rotation[:, r]
                column = int(y.abs().argmax())
                hashes.append((int(y[column] < 0), column))
            buckets[r].append(tuple(number for pair in reversed(hashes) for number in pair))
    return buckets


def reformer_attention(
    q: Tensor, v: Tensor, mask: Tensor, causal: bool, chunk: int, rotations: list[list[Tensor]]
) -> Tensor:
    """Softmax over what all rounds show: own chunk, the one before, bidirectional one after.

    rotations: for each row of the batch, as `reformer_buckets` takes them.
    """
    out = torch.zeros_like(v)
    for b, h in itertools.product(range(q.shape[0]), range(q.shape[1])):
        tokens = mask[b].nonzero()[:, 0]
        x, values = q[b, h, tokens], v[b, h, tokens]
        keys = x / (x.square().sum(-1, keepdim=True) + 1e-6).sqrt()
        shown: list[list[int]] = [[] for _ in tokens]
        for buckets in reformer_buckets(x, rotations[b]) if len(tokens) else []:
            places = sorted(range(len(tokens)), key=lambda t: (buckets[t], t))
            for place, i in enumerate(places):
                first = (place // chunk - 1) * chunk
                last = first + (2 if causal else 3) * chunk
                window = places[max(first, 0) : last]
                shown[i] += [j for j in window if j != i and (j <= i or not causal)]
        for i, seen in enumerate(shown):
            seen = seen or [i]
            out[b, h, tokens[i]] = torch.softmax(keys[seen] @ x[i], 0) @ values[seen]
    return out


def linformer_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor, e: Tensor, f: Tensor
) -> Tensor:
    """Wang et al. 2020, equation 7: softmax(q (E k)^T / sqrt(D)) F v over a row's tokens.

    e, f: (H, K, N); column r belongs to the token of rank r.
    """
    out = torch.zeros_like(v)
    for b, h in itertools.product(range(q.shape[0]), range(q.shape[1])):
        tokens = mask[b].nonzero()[:, 0]
        keys = e[h, :, : len(tokens)] @ k[b, h, tokens]
        values = f[h, :, : len(tokens)] @ v[b, h, tokens]
        logits = q[b, h, tokens] @ keys.mT / math.sqrt(q.shape[-1])
        out[b, h, tokens] = torch.softmax(logits, -1) @ values
    return out
