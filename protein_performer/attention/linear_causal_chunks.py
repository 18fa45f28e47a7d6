"""The sums of causal linear attention over the chunks of a block.

Shapes: D head width, M features, E = D + 1, G heads of a group, T = S C positions of a block,
S chunks of a block, C positions of a chunk.

Within a chunk the weights of all pairs are computed, as in exact attention; what came before is in
the state, (E, M): sums of the values, then of their normaliser. Each key has a weight, taken
relative to the largest so far: to nothing that comes later.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from protein_performer.attention.blocks import Scratch


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


class Scales(NamedTuple):
    """Key weights in base 2, and the powers of two between the sums of a block."""

    weight: Tensor  # (G, S, C), log2 of the weight of each key, -inf for a hidden one
    peak: Tensor  # (G, S, C), the largest so far
    since: Tensor  # (G, S, C, 1), from the state before the chunk to each row
    until: Tensor  # (G, S, C, 1), from each key to the state after the chunk
    decay: Tensor  # (G, S, 1, 1), from the state before the chunk to the one after


class Kept(NamedTuple):
    """What the backward pass reads again of a block; scales in base 2."""

    states: Tensor  # (G, S, E, M), before each chunk
    scores: Tensor  # (G, S, C, C), weights of the pairs within each chunk
    peak_q: Tensor | None  # (G, T, 1), taken out of the features of each query
    peak_k: Tensor | None
    scales: Scales | None  # of weighted keys

    def flat(self) -> list[Tensor | None]:
        """As autograd wants to save it."""
        return [*self[:-1], *(self.scales or [None] * len(Scales._fields))]

    @classmethod
    def unflat(cls, flat: list[Tensor]) -> Iterator["Kept"]:
        """Block after block."""
        size = len(cls._fields) - 1 + len(Scales._fields)
        for first in range(0, len(flat), size):
            states, scores, peak_q, peak_k, *rest = flat[first : first + size]
            weighted = rest[0] is not None
            yield cls(states, scores, peak_q, peak_k, Scales(*rest) if weighted else None)


def scales_of(weight: Tensor, floor: Tensor) -> Scales:
    """From weights (G, S, C) and the largest weight before the block (G, 1, 1)."""
    peak = weight.flatten(1).cummax(-1).values.view_as(weight)
    peak = torch.maximum(peak, floor)
    last = peak[..., -1:]
    before = torch.cat([floor, last[:, :-1]], dim=1)
    powers = (before - peak, weight - last, before - last)
    since, until, decay = (torch.exp2(power)[..., None] for power in powers)
    return Scales(weight, peak, since, until, decay)


def mask_pairs(scores: Tensor, scales: Scales | None, scratch: Scratch) -> Tensor:
    """(G, S, C, C) times the weight of each pair, zero where the key is later; in place."""
    if scales is None:
        return scores.tril_()
    pairs = scratch("pairs", *scores.shape)
    torch.sub(scales.weight[..., None, :], scales.peak[..., :, None], out=pairs)
    # A later key may be far beyond the row's peak: it is cut off before the product.
    return scores.mul_(pairs.exp2_().tril_())


def chunked(x: Tensor, chunk: int) -> Tensor:
    """(G, T, ...) -> (G, S, C, ...)."""
    return x.view(x.shape[0], -1, chunk, *x.shape[2:])


def scaled(x: Tensor, scale: Tensor | None, buffer: str, scratch: Scratch) -> Tensor:
    """The product of x and the scale in a buffer, or x itself."""
    return x if scale is None else torch.mul(x, scale, out=scratch(buffer, *x.shape))


def pass_states(
    state: Tensor, added: Tensor, scales: Scales | None, out: Tensor, *, backwards: bool = False
) -> Tensor:
    """Carries the state through the chunks.

    Args:
        state: (G, E, M), moved on in place to the end of the block.
        added: (G, S, E, M), what each chunk adds.
        scales: of the block, if keys are weighted.
        out: (G, S, E, M), gets the state as each chunk finds it.
        backwards: from the last chunk to the first, as gradients go.
    """
    order = list(range(out.shape[1]))
    if backwards:
        order.reverse()
    found = [out[:, s] for s in order]
    found[0].copy_(state)
    for s, here, after in zip(order, found, [*found[1:], state], strict=True):
        if scales is None:
            torch.add(added[:, s], here, out=after)
        else:
            torch.addcmul(added[:, s], here, scales.decay[:, s], out=after)
    return out


def sum_rows(
    phi_q: Tensor,
    values: Tensor,
    states: Tensor,
    scores: Tensor,
    scales: Scales | None,
    scratch: Scratch,
) -> Tensor:
    """(G, T, D): the sums of each row, from the state before its chunk and from its chunk."""
    dim = values.shape[-1] - 1
    # Without the normaliser: products of width D + 1 cost a fifth more than those of width D.
    total = product(phi_q, states[..., :dim, :].mT, scratch("total", *values.shape[:3], dim))
    if scales is not None:
        total.mul_(scales.since)
    add_product(total, scores, values[..., :dim])
    return total.flatten(1, 2)


def count_rows(
    phi_q: Tensor, values: Tensor, states: Tensor, scores: Tensor, scales: Scales | None
) -> Tensor:
    """(G, T, 1): the normaliser of each row."""
    total = phi_q @ states[..., -1:, :].mT
    if scales is None:
        total += scores @ values[..., -1:]
    else:
        total.mul_(scales.since).add_(scores.sum(-1, keepdim=True))
    return total.flatten(1, 2)


def grad_values(
    phi_k: Tensor,
    d_sums: Tensor,
    d_states: Tensor,
    scores: Tensor,
    scales: Scales | None,
    scratch: Scratch,
) -> Tensor:
    """(G, T, D), from the states after each chunk and from the rows of the chunk."""
    dim = d_sums.shape[-1] - 1
    total = product(phi_k, d_states[..., :dim, :].mT, scratch("total", *d_sums.shape[:3], dim))
    if scales is not None:
        total.mul_(scales.until)
    add_product(total, scores.mT, d_sums[..., :dim])
    return total.flatten(1, 2)


def product(a: Tensor, b: Tensor, into: Tensor) -> Tensor:
    """Write a b, batched over (G, S)."""
    torch.bmm(a.flatten(0, 1), b.flatten(0, 1), out=into.flatten(0, 1))
    return into


def add_product(into: Tensor, a: Tensor, b: Tensor) -> None:
    """Add a b, batched over (G, S)."""
    into.flatten(0, 1).baddbmm_(a.flatten(0, 1), b.flatten(0, 1))
