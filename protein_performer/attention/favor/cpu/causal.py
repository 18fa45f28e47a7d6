"""Causal linear attention, scheduled for a CPU: block after block, recomputing gradients.

Shapes: B batch, H heads, L positions, D head width, M features, E = D + 1, R rows of the batch in a
group, K heads of each, G = R K, T = S C positions of a block, S chunks of a block, C positions of a
chunk.

Exponential features are relative to the largest of each query, which cancels, and to the largest
of each key, which becomes the weight of that key in `chunks`.
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from protein_performer.attention.favor import linear
from protein_performer.attention.favor.cpu.chunks import (
    Block,
    Kept,
    Scales,
    grad_values,
    log_scale,
    pair_products,
    pass_states,
    scaled,
    scales_of,
    sum_rows,
)
from protein_performer.attention.favor.cpu.head_groups import (
    Heads,
    by_row,
    head_groups,
    padding_positions,
)
from protein_performer.attention.favor.linear import Operands, divisor

CHUNKS = (32, 64)  # shortest and longest
HEADS = 8
FEATURES = 2**18  # of a block, over the heads of a group


def attend(operands: Operands) -> Tensor:
    """As `linear.causal`."""
    q, k, v, features, key_mask, normalize, _ = operands
    keep = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))
    out, factor = CausalAttention.apply(q, k, v, operands, keep)  # type: ignore[no-untyped-call]
    if features.activation is None and normalize:
        lost = factor[..., 0] == 0
        if key_mask is not None:
            lost &= key_mask[:, None]
        if lost.any():
            return _restored(out, lost, operands)
    return cast(Tensor, out)


def _restored(out: Tensor, lost: Tensor, operands: Operands) -> Tensor:
    """Outputs with lost (B, H, L) ones filled in, and their gradients.

    The schedule takes the largest feature out of each query and of each key. Where q and k are so
    large that the product of what is left underflows for every key that a position may see (in
    float32 from a norm of about 100 on, for directions at random), its normalizer is lost. The
    plain form, which takes several times as long, loses none.
    """
    rows = lost.flatten(1).any(-1).nonzero()[:, 0]
    restored = []
    for row in rows.tolist():
        whole = checkpoint(
            linear.causal, operands.of_row(row), use_reentrant=False, preserve_rng_state=False
        )[0]
        restored.append(torch.where(lost[row, ..., None], whole[0].to(out.dtype), out[row]))
    return out.index_copy(0, rows, torch.stack(restored))


class CausalAttention(torch.autograd.Function):
    """out_i = factor_i sum_{j <= i} phi(q_i).phi(k_j) v_j."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, operands: Operands, keep: bool
    ) -> tuple[Tensor, Tensor]:
        """Outputs and the factor of each row, a constant.

        Only q, k and v, which are those of the operands, have gradients.
        """
        out = torch.empty_like(v)
        factor = q.new_empty(*q.shape[:3], 1, dtype=operands.precision.exact)
        kept = []
        for group, heads in head_groups(operands, HEADS):
            kept += _forward(heads, out[group], factor[group], keep)
        flat = (x for block in kept for x in block.flat())
        ctx.save_for_backward(q, k, v, out, factor, *flat)
        ctx.mark_non_differentiable(factor)
        ctx.constants = operands[3:]
        return out, factor

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """Of q, k and v."""
        q, k, v, out, factor, *flat = ctx.saved_tensors
        operands = Operands(q, k, v, *ctx.constants)
        dq, dk, dv = (torch.empty_like(x) for x in (q, k, v))
        kept = Kept.unflat(flat)
        for group, heads in head_groups(operands, HEADS):
            of_heads = [next(kept) for _ in _blocks(heads)]
            rows = (out[group], factor[group], grad[group], dq[group], dk[group], dv[group])
            _backward(heads, *rows, of_heads)
        return dq, dk, dv, None, None


def chunk_length(length: int, head_dim: int, *, rounds: bool = False) -> int:
    """C: about D positions, so that the pairs of a chunk cost what its state does.

    Twice as many where products are rounded: there they cost less than the states' conversions.
    """
    chunk = min(max(head_dim, CHUNKS[0]), CHUNKS[1])
    return min(2 * chunk if rounds else chunk, length)


def _chunk(heads: Heads) -> int:
    return chunk_length(*heads.q.shape[2:], rounds=heads.products.rounds)


def _blocks(heads: Heads) -> list[slice]:
    """A whole number of chunks each, but for the last."""
    length = heads.q.shape[2]
    per_chunk = heads.size * _chunk(heads) * heads.phi.num_features
    features = 2 * FEATURES if heads.products.rounds else FEATURES  # half as long, each of them
    size = _chunk(heads) * max(1, features // per_chunk)
    return [slice(first, min(first + size, length)) for first in range(0, length, size)]


def _forward(heads: Heads, out: Tensor, factor: Tensor, keep: bool) -> list[Kept]:
    """Writes the outputs (R, K, L, D) and the factors (R, K, L, 1) of their sums."""
    kept, products = [], heads.products
    dim = out.shape[-1]
    state = heads.zeros(dim + 1, heads.phi.num_features)
    floor = state.new_full((heads.size, 1, 1), torch.finfo(state.dtype).min / 4)
    for at in _blocks(heads):
        block = _load(heads, at)
        scales = _scales(heads, block, floor)
        values = scaled(block.values, scales and scales.until, "weighted", products)
        added = products.exact("wide", products.bmm("wide", values.mT, block.phi_k))
        states = pass_states(state, added, scales, products, keep=keep)
        scores = pair_products(block.phi_q, block.phi_k, scales, "scores", products, keep=keep)

        sums, normalizer = sum_rows(block, states, scores, scales, products)
        if scales is not None:
            floor = scales.peak[:, -1:, -1:]
        if heads.normalize:
            factors = divisor(normalizer, heads.phi.map).reciprocal()
        else:
            factors = torch.exp2(log_scale(block, scales, normalizer))
        size, per_row = at.stop - at.start, out.shape[:2]
        rows = factors.view(*per_row, -1, 1)[:, :, :size]
        factor[:, :, at] = rows
        torch.mul(sums.view(*per_row, -1, dim)[:, :, :size], rows, out=out[:, :, at])
        if keep:
            kept.append(Kept(states, scores, block.peak_q, block.peak_k, scales))
    return kept


def _backward(
    heads: Heads,
    out: Tensor,
    factor: Tensor,
    grad: Tensor,
    dq: Tensor,
    dk: Tensor,
    dv: Tensor,
    kept: list[Kept],
) -> None:
    """Writes the gradients of q, k and v, (R, K, L, D)."""
    products = heads.products
    d_state = heads.zeros(*kept[0].states.shape[1:])
    for at, of_block in zip(reversed(_blocks(heads)), reversed(kept), strict=True):
        size = at.stop - at.start
        block, scales = _load(heads, at, of_block), of_block.scales
        rows = grad[:, :, at], factor[:, :, at], out[:, :, at]
        exact = heads.grad_sums(*rows, block.key.shape[1]).view_as(block.values)
        d_since = scaled(exact, scales and scales.since, "d_since", products)
        d_sums = products.operand("d_rows", exact)
        d_scores = pair_products(d_sums, block.values, scales, "d_scores", products)
        d_added = products.exact("wide", products.bmm("wide", d_since.mT, block.phi_q))
        d_states = pass_states(d_state, d_added, scales, products, backwards=True)

        d_values = grad_values(block, of_block, d_sums, d_states, products)
        dv[:, :, at] = d_values.view(*out.shape[:2], -1, out.shape[-1])[:, :, :size]
        padding = padding_positions(heads.mask, at)
        if padding is not None:
            dv[:, :, at][padding] = 0

        values = scaled(block.values, scales and scales.until, "weighted", products)
        d_phi = products.bmm("wide", values, d_states)
        d_phi.baddbmm_(d_scores.mT, block.phi_q)
        dk_block = heads.phi.backward(d_phi, block.phi_k, block.u_k, "u_k", block.key)
        dk[:, :, at] = by_row(dk_block, dk)[:, :, :size]

        d_phi = products.bmm("wide", d_since, of_block.states)
        d_phi.baddbmm_(d_scores, block.phi_k)
        dq_block = heads.phi.backward(d_phi, block.phi_q, block.u_q, "u_q")
        dq[:, :, at] = by_row(dq_block, dq)[:, :, :size]


def _load(heads: Heads, at: slice, kept: Kept | None = None) -> Block:
    """The block, padded with zeros to whole chunks."""
    chunk = _chunk(heads)
    size = -(-(at.stop - at.start) // chunk) * chunk
    padding = padding_positions(heads.mask, at)
    query = heads.load("query", heads.q[:, :, at], size, padding)
    key = heads.load("key", heads.k[:, :, at], size, padding)
    values = heads.load_values(heads.v[:, :, at], size, padding)
    u_q, phi_q, peak_q = _features(heads, query, "q", kept and kept.peak_q)
    u_k, phi_k, peak_k = _features(heads, key, "k", kept and kept.peak_k)
    values, phi_q, phi_k = (x.view(-1, chunk, x.shape[-1]) for x in (values, phi_q, phi_k))
    return Block(key, values, u_q, u_k, phi_q, phi_k, peak_q, peak_k)


def _features(
    heads: Heads, x: Tensor, name: str, peak: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """u, phi, and the peak that exponential features are relative to."""
    u = heads.phi.project(x, "u_" + name)
    if not heads.phi.exponential:
        return u, heads.phi.activate(u, "phi_" + name), None
    if peak is None:
        peak = u.amax(-1, keepdim=True)
    phi = heads.products.operand("phi_" + name, u.sub_(peak).exp2_())
    return u, phi, peak


def _scales(heads: Heads, block: Block, floor: Tensor) -> Scales | None:
    """Of the block, from the largest weight before it, (G, 1, 1)."""
    if not heads.phi.weighted:
        return None
    weight = heads.phi.log_norm(block.key)
    if block.peak_k is not None:
        weight += block.peak_k[..., 0]
    padding = block.values[..., -1] == 0
    weight = weight.view(len(weight), -1, padding.shape[-1])
    return scales_of(weight.masked_fill_(padding.view_as(weight), -torch.inf), floor)
