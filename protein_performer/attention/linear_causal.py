"""Causal linear attention, scheduled for a CPU: block after block, recomputing gradients.

Shapes: B batch, H heads, L positions, D head width, M features, E = D + 1, G heads of a group,
T = S C positions of a block, S chunks of a block, C positions of a chunk.

Exponential features are relative to the largest of each query, which cancels, and to the largest
of each key, which becomes the weight of that key in `linear_causal_chunks`.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from protein_performer.attention.blocks import (
    BlockFeatures,
    Group,
    Scratch,
    head_groups,
    hidden_positions,
)
from protein_performer.attention.features import FeatureMap
from protein_performer.attention.linear_causal_chunks import (
    Scales,
    add_product,
    chunked,
    mask_pairs,
    pass_states,
    product,
    scaled,
    scales_of,
)
from protein_performer.attention.normalizer import row_factor

CHUNK = 64
HEADS = 8
POSITIONS = 2048  # of a block, over the heads of a group


class Kept(NamedTuple):
    """What the backward pass reads again of a block; scales in base 2."""

    states: Tensor  # (G, S, E, M), before each chunk
    scores: Tensor  # (G, S, C, C), weights of the pairs within each chunk
    factor: Tensor  # (G, T, 1), of each row of sums
    peak_q: Tensor | None  # (G, T, 1), taken out of the features of each query
    peak_k: Tensor | None
    scales: Scales | None  # of a weighted map


class Block(NamedTuple):
    """Inputs and features of a block."""

    key: Tensor  # (G, T, D)
    values: Tensor  # (G, S, C, E)
    u_q: Tensor  # (G, T, M), before the activation
    u_k: Tensor
    phi_q: Tensor  # (G, S, C, M)
    phi_k: Tensor
    peak_q: Tensor | None  # (G, T, 1)
    peak_k: Tensor | None


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    features: FeatureMap,
    key_mask: Tensor | None,
    renormalize: bool,
) -> Tensor:
    """Attention to the keys j <= i; arguments and result as in `linear_batched.bidirectional`."""
    keep = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))
    out: Tensor = CausalAttention.apply(  # type: ignore[no-untyped-call]
        q, k, v, features.weight, key_mask, features, renormalize, keep
    )
    return out


class CausalAttention(torch.autograd.Function):
    """out_i = factor_i sum_{j <= i} phi(q_i).phi(k_j) v_j."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        weight: Tensor,
        key_mask: Tensor | None,
        features: FeatureMap,
        renormalize: bool,
        keep: bool,
    ) -> Tensor:
        """Only q, k and v have gradients; `weight` is that of the features."""
        out = torch.empty_like(v)
        kept = []
        for group, heads in _groups(q, k, v, key_mask, features):
            kept += heads.forward(out[group], renormalize, keep)
        ctx.save_for_backward(q, k, v, weight, out, *(x for block in kept for x in _flat(block)))
        ctx.rest = key_mask, features, renormalize
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Of q, k and v."""
        q, k, v, _, out, *flat = ctx.saved_tensors
        key_mask, features, renormalize = ctx.rest
        dq, dk, dv = (torch.empty_like(x) for x in (q, k, v))
        kept = _unflat(flat)
        for group, heads in _groups(q, k, v, key_mask, features):
            of_heads = [next(kept) for _ in heads.blocks()]
            rows = (out[group], grad[group], dq[group], dk[group], dv[group])
            heads.backward(*rows, renormalize, of_heads)
        return dq, dk, dv, None, None, None, None, None


class _Heads:
    """One group of heads of one row of the batch: q, k, v (G, L, D), mask (L,)."""

    def __init__(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, phi: BlockFeatures, s: Scratch
    ) -> None:
        self.q, self.k, self.v, self.mask, self.phi, self.scratch = q, k, v, mask, phi, s
        self.chunk = min(CHUNK, q.shape[1])

    def blocks(self) -> list[slice]:
        """A whole number of chunks each, but for the last."""
        group, length, _ = self.q.shape
        size = self.chunk * max(1, POSITIONS // (self.chunk * group))
        return [slice(first, min(first + size, length)) for first in range(0, length, size)]

    def forward(self, out: Tensor, renormalize: bool, keep: bool) -> list[Kept]:
        """Writes the outputs (G, L, D)."""
        kept = []
        group, _, dim = out.shape
        state = out.new_zeros(group, dim + 1, self.phi.weight.shape[-2])
        floor = out.new_full((group, 1, 1), torch.finfo(out.dtype).min / 4)
        for at in self.blocks():
            block = self.load(at)
            scales = self.scales(block, floor)
            values = scaled(block.values, scales and scales.until, "weighted", self.scratch)
            shape = (*values.shape[:2], *state.shape[1:])
            states = state.new_empty(shape) if keep else self.scratch("states", *shape)
            added = product(values.mT, block.phi_k, self.scratch("added", *shape))
            pass_states(state, added, scales, states)

            shape = (*values.shape[:3], self.chunk)
            scores = state.new_empty(shape) if keep else self.scratch("scores", *shape)
            product(block.phi_q, block.phi_k.mT, scores)
            mask_pairs(scores, scales, self.scratch)
            sums, normalizer = self.sums(block, scales, states, scores)
            log_scale = torch.zeros_like(normalizer)
            if scales is not None:
                floor = scales.peak[:, -1:, -1:]
                log_scale += scales.peak.flatten(1)[..., None]
            if block.peak_q is not None:
                log_scale += block.peak_q
            factor = row_factor(normalizer, log_scale, self.phi.map, renormalize)
            size = at.stop - at.start
            torch.mul(sums[:, :size], factor[:, :size], out=out[:, at])
            if keep:
                kept.append(Kept(states, scores, factor, block.peak_q, block.peak_k, scales))
        return kept

    def backward(
        self,
        out: Tensor,
        grad: Tensor,
        dq: Tensor,
        dk: Tensor,
        dv: Tensor,
        renormalize: bool,
        kept: list[Kept],
    ) -> None:
        """Writes the gradients of q, k and v, (G, L, D)."""
        scratch = self.scratch
        d_state = torch.zeros_like(kept[0].states[:, 0])
        for at, of_block in zip(reversed(self.blocks()), reversed(kept), strict=True):
            size = at.stop - at.start
            block, scales = self.load(at, of_block), of_block.scales
            d_sums = self.d_sums(out[:, at], grad[:, at], of_block.factor, renormalize)
            d_scores = product(d_sums, block.values.mT, scratch("d_scores", *of_block.scores.shape))
            mask_pairs(d_scores, scales, scratch)
            d_since = scaled(d_sums, scales and scales.since, "d_since", scratch)
            d_added = product(d_since.mT, block.phi_q, scratch("added", *of_block.states.shape))
            d_states = scratch("d_states", *of_block.states.shape)
            pass_states(d_state, d_added, scales, d_states, backwards=True)

            d_values = self.d_values(block, of_block, d_sums, d_states)
            hidden = hidden_positions(self.mask, at)
            dv[:, at] = d_values[:, :size]
            if hidden is not None:
                dv[:, at].index_fill_(1, hidden, 0)

            values = scaled(block.values, scales and scales.until, "weighted", scratch)
            d_phi = product(values, d_states, scratch("d_phi", *block.phi_k.shape))
            add_product(d_phi, d_scores.mT, block.phi_q)
            dk[:, at] = self.phi.backward(d_phi, block.phi_k, block.u_k, block.key)[:, :size]

            product(d_since, of_block.states, d_phi)
            add_product(d_phi, d_scores, block.phi_k)
            dq[:, at] = self.phi.backward(d_phi, block.phi_q, block.u_q)[:, :size]

    def load(self, at: slice, kept: Kept | None = None) -> Block:
        """The block, padded with zeros to whole chunks."""
        size = -(-(at.stop - at.start) // self.chunk) * self.chunk
        hidden = hidden_positions(self.mask, at)
        query = self.scratch.load("query", self.q[:, at], size, hidden)
        key = self.scratch.load("key", self.k[:, at], size, hidden)
        values = self.scratch.load_values(self.v[:, at], size, hidden)
        u_q, phi_q, peak_q = self.features(query, "q", kept and kept.peak_q)
        u_k, phi_k, peak_k = self.features(key, "k", kept and kept.peak_k)
        values, phi_q, phi_k = (chunked(x, self.chunk) for x in (values, phi_q, phi_k))
        return Block(key, values, u_q, u_k, phi_q, phi_k, peak_q, peak_k)

    def features(
        self, x: Tensor, name: str, peak: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """u, phi, and the peak that exponential features are relative to."""
        u = self.phi.project(x, "u_" + name)
        if not self.phi.exponential:
            return u, self.phi.activate(u, "phi_" + name), None
        if peak is None:
            peak = u.amax(-1, keepdim=True)
        return u, u.sub_(peak).exp2_(), peak

    def scales(self, block: Block, floor: Tensor) -> Scales | None:
        """Of the block, from the largest weight before it, (G, 1, 1)."""
        if not self.phi.weighted:
            return None
        weight = self.phi.log_norm(block.key)
        if block.peak_k is not None:
            weight += block.peak_k[..., 0]
        weight = chunked(weight, self.chunk)
        return scales_of(weight.masked_fill_(block.values[..., -1] == 0, -torch.inf), floor)

    def sums(
        self, block: Block, scales: Scales | None, states: Tensor, scores: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Sums (G, T, D) and normalisers (G, T, 1), relative to the scales of each row."""
        dim = block.values.shape[-1] - 1
        total = self.scratch("total", *block.values.shape[:3], dim)
        # Apart: products of width D + 1 cost a fifth more than products of width D.
        product(block.phi_q, states[..., :dim, :].mT, total)
        normalizer = block.phi_q @ states[..., dim:, :].mT
        if scales is not None:
            total.mul_(scales.since)
            normalizer.mul_(scales.since)
        add_product(total, scores, block.values[..., :dim])
        normalizer += scores @ block.values[..., dim:]
        return total.flatten(1, 2), normalizer.flatten(1, 2)

    def d_sums(self, out: Tensor, grad: Tensor, factor: Tensor, renormalize: bool) -> Tensor:
        """(G, S, C, E), the gradients of sums and normalisers."""
        group, size, _ = factor.shape
        dim = out.shape[-1]
        d_sums = self.scratch("d_sums", group, size, dim + 1)
        d_total = self.scratch.load("total", grad, size).mul_(factor)
        d_sums[..., :dim] = d_total
        d_sums[..., dim] = 0
        if renormalize:  # out = sums / normaliser
            d_sums[..., dim] -= self.scratch.load("product", out, size).mul_(d_total).sum(-1)
        return chunked(d_sums, self.chunk)

    def d_values(self, block: Block, kept: Kept, d_sums: Tensor, d_states: Tensor) -> Tensor:
        """(G, T, D)."""
        dim = d_sums.shape[-1] - 1
        d_values = self.scratch("total", *d_sums.shape[:3], dim)
        product(block.phi_k, d_states[..., :dim, :].mT, d_values)
        if kept.scales is not None:
            d_values.mul_(kept.scales.until)
        add_product(d_values, kept.scores.mT, d_sums[..., :dim])
        return d_values.flatten(1, 2)


def _groups(
    q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None, features: FeatureMap
) -> Iterator[tuple[Group, _Heads]]:
    scratch = Scratch(q)
    for group in head_groups(q.shape[0], q.shape[1], HEADS):
        mask = None if key_mask is None else key_mask[group[0]]
        phi = BlockFeatures(features, group, scratch)
        yield group, _Heads(q[group], k[group], v[group], mask, phi, scratch)


def _flat(kept: Kept) -> list[Tensor | None]:
    return [*kept[:-1], *(kept.scales or [None] * len(Scales._fields))]


def _unflat(flat: list[Tensor]) -> Iterator[Kept]:
    scales = len(Scales._fields)
    size = len(Kept._fields) - 1 + scales
    for first in range(0, len(flat), size):
        states, scores, factor, peak_q, peak_k, *rest = flat[first : first + size]
        weighted = rest[0] is not None
        yield Kept(states, scores, factor, peak_q, peak_k, Scales(*rest) if weighted else None)
