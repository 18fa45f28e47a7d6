"""Attention inside chunks of sorted sequences: Reformer's arithmetic, forward and backward.

One algorithm, two schedules: on a CPU a few chunks or short sequences at a time, so that a step's
scores stay in the cache; on any other device everything at once.

Shapes: G heads of the batch (B * H), R hash rounds, S sequences (G * R), L positions, D head width,
P places (L rounded up to N chunks of C), W places that a chunk sees (2 C or 3 C).
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

_HIDDEN = -float(2**30)  # added to a score that must not count; finite, so no row is 0 / 0
_SELF = -1e5  # score of a position with itself: it counts only where nothing else is seen
_LOG2E = 1 / math.log(2)  # powers of two cost less than powers of e, most of all where they vanish
_STEP = 65_536  # scores of one CPU step: 256 KiB in float32, half of a common L2 cache
_GROUP = 16 * _STEP  # scores of the heads that go through autograd together, also on a CPU

Step = tuple[slice, slice]  # which of the S sequences, which of the N chunks


class Layout(NamedTuple):
    """Who stands where, and who sees whom.

    Attributes:
        order: (G, R, P) int64, the position at each place; L at places without a token.
        inverse: (G, R, L) int64, the place of each position.
        chunk: C. A place sees its own chunk, the one before and, unless causal, the one after.
        causal: a position sees no later position, whatever their places.
    """

    order: Tensor
    inverse: Tensor
    chunk: int
    causal: bool


def attend(q: Tensor, k: Tensor, v: Tensor, layout: Layout) -> Tensor:
    """Softmax attention over all that the rounds show to a position, repeats counted.

    out_i = sum_r sum_j exp(s_ij) v_j / sum_r sum_j exp(s_ij), with j over what i sees in round r
    and s_ij = q_i . k_j, or -1e5 for j = i.

    Args:
        q, k, v: (G, L, D), of one dtype.
        layout: of every round.

    Returns: (G, L, D), arbitrary but finite at positions without a token.
    """
    # One row of zeros more, at index L, for the places without a token.
    q, k, v = (pad(x, (0, 0, 0, 1)) for x in (q, k, v))
    heads = max(1, _GROUP // (layout.order[0].numel() * _window(layout)))
    if _all_at_once(q.device):
        heads = q.shape[0]
    apply: Callable[..., Tensor] = _Attend.apply
    outs = [
        apply(*(x[i : i + heads] for x in (q, k, v, *layout[:2])), *layout[2:])
        for i in range(0, q.shape[0], heads)
    ]
    return torch.cat(outs)


class _Attend(torch.autograd.Function):
    """Keeps inputs, outputs and two numbers for each position; scores are computed twice.

    Scores are in bits: the keys that `_forward` and `_backward` see are multiplied by log2(e).
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, *fields: Any) -> Tensor:
        layout = Layout(*fields)
        out, largest, total = _forward(q, k * _LOG2E, v, layout)
        ctx.save_for_backward(q, k, v, out, largest, total, *layout[:2])
        ctx.settings = layout[2:]
        return out.to(v.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, largest, total, *orders = ctx.saved_tensors
        layout = Layout(*orders, *ctx.settings)
        # A position's softmax takes off the part of the gradient that lies along its output.
        along = (grad * out).sum(-1, keepdim=True)
        # At index L all is zero but the divisor, so that nothing flows through the empty places.
        grad, largest, along = (pad(x, (0, 0, 0, 1)) for x in (grad, largest, along))
        stats = largest, pad(total, (0, 0, 0, 1), value=1.0), along
        dq, dk, dv = _backward(q, k * _LOG2E, v, grad, stats, layout)
        # The gradient of k is that of k log2(e), times log2(e), times the ln(2) of each power.
        return dq * math.log(2), dk, dv, None, None, None, None


def _forward(q: Tensor, k: Tensor, v: Tensor, layout: Layout) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs (G, L, D); of each position the largest score m and sum 2^(s - m), (G, L) each."""
    queries, keys, values = _chunks(q, layout), _windows(k, layout), _windows(v, layout)
    exact = torch.promote_types(q.dtype, torch.float32)  # of exponentials and sums
    out = torch.empty_like(queries, dtype=exact)
    largest, total = (torch.empty_like(queries[..., :1], dtype=exact) for _ in range(2))
    for step, bias in _steps(layout, absent=q.shape[1] - 1, dtype=exact):
        scores = _scores(queries[step], keys[step], bias, layout.chunk)
        largest[step] = scores.amax(-1, keepdim=True)
        weights = scores.sub_(largest[step]).exp2_()
        total[step] = weights.sum(-1, keepdim=True)
        out[step] = weights.to(v.dtype) @ values[step].mT
    # From places back to positions, then from the rounds to their union.
    out, largest, total = (_unsorted(x.flatten(1, 2), layout) for x in (out, largest, total))
    maximum = largest.amax(1)
    share = (largest - maximum[:, None]).exp2_()
    normaliser = (share * total).sum(1)
    return (share * out).sum(1) / normaliser, maximum, normaliser


def _backward(
    q: Tensor, k: Tensor, v: Tensor, grad: Tensor, stats: tuple[Tensor, ...], layout: Layout
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k, v, (G, L + 1, D) each."""
    queries, keys, values = _chunks(q, layout), _windows(k, layout), _windows(v, layout)
    grads, largest, total, along = (_chunks(x, layout) for x in (grad, *stats))
    dq = torch.empty_like(queries)
    seen = _seen(layout, absent=q.shape[1] - 1).shape
    dk, dv = (x.new_zeros(*seen, x.shape[-1]) for x in (k, v))
    for step, bias in _steps(layout, absent=q.shape[1] - 1, dtype=largest.dtype):
        scores = _scores(queries[step], keys[step], bias, layout.chunk)
        weights = scores.sub_(largest[step]).exp2_().div_(total[step])
        dscores = (grads[step] @ values[step]).sub(along[step]).mul_(weights).to(q.dtype)
        dq[step] = dscores @ keys[step].mT
        _add_windows(dk, dscores.mT @ queries[step], step, layout.chunk)
        _add_windows(dv, weights.to(v.dtype).mT @ grads[step], step, layout.chunk)
    first, last = layout.chunk, layout.chunk + layout.order.shape[-1]
    sums = (dq.flatten(1, 2), dk[:, first:last], dv[:, first:last])
    dq, dk, dv = (pad(_unsorted(x, layout).sum(1), (0, 0, 0, 1)) for x in sums)
    return dq, dk, dv


def _scores(queries: Tensor, keys: Tensor, bias: Tensor, chunk: int) -> Tensor:
    """(.., C, D) and (.., D, W) -> (.., C, W), written over the bias."""
    scores = bias.add_(queries @ keys)
    # A chunk's own places come second in its window, after the chunk before.
    scores.diagonal(chunk, -2, -1).fill_(_SELF)
    return scores


def _steps(layout: Layout, absent: int, dtype: torch.dtype) -> Iterator[tuple[Step, Tensor]]:
    """What to do at once, with its (.., C, W) bias: 0 or, where it must not count, _HIDDEN or less.

    A place sees the places whose rank is not above its own. Causal: the rank is the position;
    otherwise all tokens are alike. Places without a token (`absent`) are above all others. Ranks
    are whole numbers below 2^24, so their differences are exact in float32.
    """
    seen = _seen(layout, absent)
    rank = (seen if layout.causal else seen == absent).to(dtype) * -_HIDDEN
    chunk, size = layout.chunk, _window(layout)
    others = rank.unfold(-1, size, chunk)
    own = others[..., chunk : 2 * chunk]
    sequences, chunks = others.shape[:2]
    num_sequences = max(1, _STEP // (chunks * chunk * size))
    num_chunks = max(1, _STEP // (chunk * size))
    if _all_at_once(rank.device):
        num_sequences, num_chunks = sequences, chunks
    for s in range(0, sequences, num_sequences):
        for n in range(0, chunks, num_chunks):
            step = (slice(s, s + num_sequences), slice(n, n + num_chunks))
            yield step, (own[step][..., None] - others[step][..., None, :]).clamp_(max=0.0)


def _all_at_once(device: torch.device) -> bool:
    return device.type != "cpu"


def _window(layout: Layout) -> int:
    """W."""
    return (2 if layout.causal else 3) * layout.chunk


def _seen(layout: Layout, absent: int) -> Tensor:
    """(S, C + P + 0 or C) positions at the places, with absent chunks around them."""
    after = _window(layout) - 2 * layout.chunk
    return pad(layout.order.flatten(0, 1), (layout.chunk, after), value=absent)


def _chunks(x: Tensor, layout: Layout) -> Tensor:
    """(G, L + 1, D) by position -> (S, N, C, D) by place."""
    sequences = layout.order.flatten(0, 1).shape
    return _take(x, layout.order.flatten(1)).view(sequences[0], -1, layout.chunk, x.shape[-1])


def _windows(x: Tensor, layout: Layout) -> Tensor:
    """(G, L + 1, D) by position -> (S, N, D, W), overlapping views of one sorted copy."""
    seen = _seen(layout, absent=x.shape[1] - 1)
    rows = _take(x, seen.view(x.shape[0], -1)).view(*seen.shape, -1)
    return rows.unfold(1, _window(layout), layout.chunk)


def _add_windows(places: Tensor, windows: Tensor, step: Step, chunk: int) -> None:
    """Add (.., W, D) windows to the places (S, C + P + 0 or C, D) that they are views of."""
    by_chunk = places.view(places.shape[0], -1, chunk, places.shape[-1])
    sequences, chunks = step
    for offset in range(windows.shape[-2] // chunk):
        part = windows[..., offset * chunk : (offset + 1) * chunk, :]
        first = chunks.start + offset
        by_chunk[sequences, first : first + part.shape[1]] += part


def _unsorted(x: Tensor, layout: Layout) -> Tensor:
    """(S, P, D) by place -> (G, R, L, D) by position."""
    return _take(x, layout.inverse.flatten(0, 1)).view(*layout.inverse.shape, -1)


def _take(rows: Tensor, index: Tensor) -> Tensor:
    """(A, T, D) and (A, I) -> (A, I, D): row index[a, i] of each a."""
    first = torch.arange(rows.shape[0], device=rows.device)[:, None] * rows.shape[1]
    flat = rows.reshape(-1, rows.shape[-1]).index_select(0, (index + first).flatten())
    return flat.view(*index.shape, -1)
