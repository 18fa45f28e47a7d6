"""Bidirectional linear attention, scheduled for a CPU: heads outermost, recomputing gradients.

Shapes: B batch, H heads, L positions, D head width, M features, E = D + 1, T positions of a block,
R rows of the batch in a group, K heads of each, G = R K.

The sums over keys are (G, E, M): values first, then their normalizer. Exponential features are
relative to the largest of each feature over the keys, `key_peak`, then of each query, `peak`.
An epsilon that features in place lack is added to products with them: two passes less.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from protein_performer.attention.favor.cpu.head_groups import (
    Heads,
    by_row,
    head_groups,
    padding_positions,
)
from protein_performer.attention.favor.linear import Operands, divisor

BLOCK = 512
FEATURES = 2**19  # of a block, over the heads of a group


class Kept(NamedTuple):
    """What the backward pass reads again of a group of heads; log-scales in base 2."""

    sums: Tensor  # (G, E, M)
    key_peak: Tensor  # exponential: (G, 1, M) of each feature; else (G, 1) of each key's factor
    factor: Tensor  # (G, L, 1), of each row of sums
    peak: Tensor | None  # (G, L, 1), of each query's features


def attend(operands: Operands) -> Tensor:
    """As `linear.bidirectional`."""
    out: Tensor = BidirectionalAttention.apply(  # type: ignore[no-untyped-call]
        operands.q, operands.k, operands.v, operands
    )
    return out


class BidirectionalAttention(torch.autograd.Function):
    """out_i = factor_i sum_j phi(q_i).phi(k_j) v_j."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, operands: Operands) -> Tensor:
        """Only q, k and v, which are those of the operands, have gradients."""
        out = torch.empty_like(v)
        kept: list[Tensor | None] = []
        for group, heads in head_groups(operands, _group_size(operands)):
            sums, key_peak = _sum_keys(heads)
            kept += _attend(heads, sums, key_peak, out[group])
        ctx.save_for_backward(q, k, v, out, *kept)
        ctx.constants = operands[3:]
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Of q, k and v."""
        q, k, v, out, *kept = ctx.saved_tensors
        operands = Operands(q, k, v, *ctx.constants)
        dq, dk, dv = (torch.empty_like(x) for x in (q, k, v))
        for group, heads in head_groups(operands, _group_size(operands)):
            of_heads, kept = Kept(*kept[: len(Kept._fields)]), kept[len(Kept._fields) :]
            d_sums = _grad_queries(heads, of_heads, out[group], grad[group], dq[group])
            _grad_keys(heads, of_heads, d_sums, dk[group], dv[group])
        return dq, dk, dv, None


def _group_size(operands: Operands) -> int:
    per_head = max(1, min(operands.q.shape[2], BLOCK)) * operands.features.weight.shape[-2]
    return max(1, FEATURES // per_head)


def _blocks(heads: Heads) -> Iterator[slice]:
    length = heads.q.shape[2]
    for first in range(0, length, BLOCK):
        yield slice(first, min(first + BLOCK, length))


def _load_keys(heads: Heads, at: slice) -> tuple[Tensor, Tensor, Tensor | None]:
    """Keys (G, T, D), packed values (G, T, E), and log2 of each key's factor (G, T, 1)."""
    size = at.stop - at.start
    padding = padding_positions(heads.mask, at)
    key = heads.load("x", heads.k[:, :, at], size, padding)
    values = heads.load_values(heads.v[:, :, at], size, padding)
    if not heads.phi.weighted:
        return key, values, None
    weight = heads.phi.log_norm(key)
    if padding is not None:
        by_row(weight, heads.k)[padding] = -torch.inf
    return key, values, weight[..., None]


def _load_queries(heads: Heads, at: slice) -> Tensor:
    """Queries (G, T, D)."""
    padding = padding_positions(heads.mask, at)
    return heads.load("x", heads.q[:, :, at], at.stop - at.start, padding)


def _sum_keys(heads: Heads) -> tuple[Tensor, Tensor]:
    """The sums over keys, and the peaks that they are relative to."""
    phi = heads.phi
    dim, num_features = heads.v.shape[-1], phi.num_features
    sums = heads.zeros(dim + 1, num_features)
    lowest = torch.finfo(sums.dtype).min / 4 if phi.weighted else 0.0
    peak = sums.new_full((heads.size, 1, num_features if phi.exponential else 1), lowest)
    for at in _blocks(heads):
        key, values, weight = _load_keys(heads, at)
        features = phi.project(key, "u")
        if weight is not None:
            log_weight = features.add_(weight) if phi.exponential else weight
            grown = torch.maximum(peak, log_weight.amax(-2, keepdim=True))
            sums.mul_(torch.exp2(peak - grown))
            peak = grown
        features, values = _key_features(heads, features, values, weight, peak)
        _add_to_sums(sums, values, features, heads)
    return sums, peak


def _key_features(
    heads: Heads, u: Tensor, values: Tensor, weight: Tensor | None, peak: Tensor
) -> tuple[Tensor, Tensor]:
    """Features relative to the peak, and values, which take a factor that is not in features."""
    if heads.phi.exponential:
        return heads.products.operand("phi", u.sub_(peak).exp2_()), values
    if weight is not None:
        exact = heads.products.exact("values", values).mul_(torch.exp2(weight - peak))
        values = heads.products.operand("values", exact)
    return heads.phi.activate_in_place(u, "phi"), values


def _add_to_sums(sums: Tensor, values: Tensor, phi: Tensor, heads: Heads) -> None:
    """Adds values^T (phi + lacking), of operands (G, T, E) and (G, T, M)."""
    products = heads.products
    if products.rounds:
        sums.add_(products.exact("added", products.bmm("added", values.mT, phi)))
    else:
        sums.baddbmm_(values.mT, phi)
    if heads.phi.lacking:
        total = values.sum(-2, dtype=sums.dtype)
        sums.add_(total[..., None], alpha=heads.phi.lacking)


def _read_sums(sums: Tensor, phi: Tensor, name: str, heads: Heads) -> Tensor:
    """(phi + lacking) sums^T, (G, T, M) by (G, S, M), exact, in the buffer (G, T, S) of that name.

    Args:
        sums: exact.
        phi: an operand.
    """
    products = heads.products
    read = products.operand("sums", sums)
    rows = products.exact(name, products.bmm(name, phi, read.mT))
    if heads.phi.lacking:
        rows.add_(sums.sum(-1)[:, None], alpha=heads.phi.lacking)
    return rows


def _read_rows(sums: Tensor, phi: Tensor, heads: Heads) -> tuple[Tensor, Tensor]:
    """Of each query: sums of values (G, T, D), and their normalizer (G, T, 1)."""
    if heads.products.rounds:
        rows = _read_sums(sums, phi, "rows", heads)
        return rows[..., :-1], rows[..., -1:]
    # Apart: float32 products of width D + 1 cost a fifth more than those of width D.
    total = _read_sums(sums[:, :-1], phi, "total", heads)
    return total, _read_sums(sums[:, -1:], phi, "normalizer", heads)


def _attend(heads: Heads, sums: Tensor, key_peak: Tensor, out: Tensor) -> Kept:
    """Writes the outputs (R, K, L, D) of all queries."""
    factor = heads.zeros(out.shape[2], 1)
    peak = torch.empty_like(factor) if heads.phi.exponential else None
    for at in _blocks(heads):
        u = heads.phi.project(_load_queries(heads, at), "u")
        log_scale = key_peak
        if peak is not None:
            u.add_(key_peak)
            log_scale = peak[:, at] = u.amax(-1, keepdim=True)
            phi_q = heads.products.operand("phi", u.sub_(log_scale).exp2_())
        else:
            phi_q = heads.phi.activate_in_place(u, "phi")
        total, normalizer = _read_rows(sums, phi_q, heads)
        factors = (
            divisor(normalizer, heads.phi.map).reciprocal() if heads.normalize else log_scale.exp2()
        )
        factor[:, at] = factors
        torch.mul(by_row(total, out), by_row(factors, out), out=out[:, :, at])
    return Kept(sums, key_peak, factor, peak)


def _grad_queries(heads: Heads, kept: Kept, out: Tensor, grad: Tensor, dq: Tensor) -> Tensor:
    """Writes the gradient of q; returns that of the sums, (G, E, M)."""
    products = heads.products
    d_sums = torch.zeros_like(kept.sums)
    for at in _blocks(heads):
        u = heads.phi.project(_load_queries(heads, at), "u")
        if kept.peak is not None:
            u.add_(kept.key_peak).sub_(kept.peak[:, at])
            phi_q = products.operand("phi", u.exp2_())
        else:
            phi_q = heads.phi.activate_in_place(u, "phi")
        rows = grad[:, :, at], by_row(kept.factor, out)[:, :, at], out[:, :, at]
        d_total = products.operand("d_rows", heads.grad_sums(*rows, at.stop - at.start))
        _add_to_sums(d_sums, d_total, phi_q, heads)
        d_phi = products.bmm("d_phi", d_total, products.operand("sums", kept.sums))
        dq[:, :, at] = by_row(heads.phi.backward(d_phi, phi_q, u, "u"), dq)
    return d_sums


def _grad_keys(heads: Heads, kept: Kept, d_sums: Tensor, dk: Tensor, dv: Tensor) -> None:
    """Writes the gradients of k and v."""
    products = heads.products
    for at in _blocks(heads):
        key, values, weight = _load_keys(heads, at)
        u = heads.phi.project(key, "u")
        if weight is not None and heads.phi.exponential:
            u.add_(weight)
        phi_k, values = _key_features(heads, u, values, weight, kept.key_peak)
        d_phi = products.bmm("d_phi", values, products.operand("d_sums", d_sums))
        d_values = _read_sums(d_sums[:, :-1], phi_k, "total", heads)
        if weight is not None and not heads.phi.exponential:
            d_values.mul_(torch.exp2(weight - kept.key_peak))
        dv[:, :, at] = by_row(d_values, dv)
        padding = padding_positions(heads.mask, at)
        if padding is not None:
            dv[:, :, at][padding] = 0
        dk[:, :, at] = by_row(heads.phi.backward(d_phi, phi_k, u, "u", key), dk)
