"""The sums of causal linear attention over the chunks of a block.

Shapes: D head width, M features, E = D + 1, G heads of a group, T = S C positions of a block,
S chunks of a block, C positions of a chunk, N = G S chunks of all heads.

Within a chunk the weights of all pairs are computed, as in exact attention; what came before is in
the state, (E, M): sums of the values, then of their normalizer. Each key has a weight, taken
relative to the largest so far: to nothing that comes later.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from protein_performer.attention.favor.cpu.products import Products


class Block(NamedTuple):
    """Inputs and features of a block."""

    key: Tensor  # (G, T, D)
    values: Tensor  # (N, C, E)
    u_q: Tensor  # (G, T, M), before the activation
    u_k: Tensor
    phi_q: Tensor  # (N, C, M)
    phi_k: Tensor
    peak_q: Tensor | None  # (G, T, 1), taken out of the features of each query
    peak_k: Tensor | None


class Scales(NamedTuple):
    """Key weights in base 2, and the powers of two between the sums of a block."""

    weight: Tensor  # (G, S, C), log2 of the weight of each key, -inf for padding
    peak: Tensor  # (G, S, C), the largest so far
    since: Tensor  # (N, C, 1), from the state before the chunk to each row
    until: Tensor  # (N, C, 1), from each key to the state after the chunk
    decay: Tensor  # (G, S, 1, 1), from the state before the chunk to the one after


class Kept(NamedTuple):
    """What the backward pass reads again of a block; scales in base 2."""

    states: Tensor  # (N, E, M), before each chunk
    scores: Tensor  # (N, C, C), weights of the pairs within each chunk
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
    chunk = weight.shape[-1]
    peak = weight.flatten(1).cummax(-1).values.view_as(weight)
    peak = torch.maximum(peak, floor)
    last = peak[..., -1:]
    before = torch.cat([floor, last[:, :-1]], dim=1)
    return Scales(
        weight,
        peak,
        since=torch.exp2(before - peak).view(-1, chunk, 1),
        until=torch.exp2(weight - last).view(-1, chunk, 1),
        decay=torch.exp2(before - last)[..., None],
    )


def pair_products(
    a: Tensor,
    b: Tensor,
    scales: Scales | None,
    name: str,
    products: Products,
    *,
    keep: bool = False,
) -> Tensor:
    """(N, C, *) each -> (N, C, C), a b^T times the weight of each pair, an operand.

    Zero where the key is later. In the buffer of that name, or to keep.
    """
    if scales is None:
        return products.bmm(name, a, b.mT, keep=keep).tril_()
    scores = products.exact(name, products.bmm(name, a, b.mT, keep=keep and not products.rounds))
    pairs = products.scratch("pairs", *scales.weight.shape, scores.shape[-1])
    torch.sub(scales.weight[..., None, :], scales.peak[..., None], out=pairs)
    # A later key may be far beyond the row's peak: it is cut off before the product.
    scores.mul_(pairs.exp2_().tril_().view_as(scores))
    return products.operand(name, scores, keep=keep)


def scaled(x: Tensor, scale: Tensor | None, name: str, products: Products) -> Tensor:
    """The product of x and the scale, or x itself, an operand."""
    if scale is None:
        return products.operand(name, x)
    out = products.scratch(name, *x.shape)
    return products.operand(name, torch.mul(products.exact(name, x), scale, out=out))


def pass_states(
    state: Tensor,
    added: Tensor,
    scales: Scales | None,
    products: Products,
    *,
    keep: bool = False,
    backwards: bool = False,
) -> Tensor:
    """Carries the state through the chunks.

    Args:
        state: (G, E, M), exact, moved on in place to the end of the block.
        added: (N, E, M), exact, what each chunk adds.
        scales: of the block, if keys are weighted.
        products: of the call.
        keep: the result, otherwise it is in a buffer.
        backwards: from the last chunk to the first, as gradients go.

    Returns: (N, E, M), operands, the state as each chunk finds it.
    """
    own = keep and not products.rounds
    out = torch.empty_like(added) if own else products.scratch("states", *added.shape)
    by_chunk = (len(state), -1, *state.shape[1:])
    steps = list(zip(added.view(by_chunk).unbind(1), out.view(by_chunk).unbind(1), strict=True))
    decays = (None,) * len(steps) if scales is None else scales.decay.unbind(1)
    order = list(range(len(steps)))
    if backwards:
        order.reverse()
    steps[order[0]][1].copy_(state)
    for s, following in zip(order, [*order[1:], None], strict=True):
        add, found = steps[s]
        after = state if following is None else steps[following][1]
        decay = decays[s]
        if decay is None:
            torch.add(add, found, out=after)
        else:
            torch.addcmul(add, found, decay, out=after)
    return products.operand("states", out, keep=keep)


def sum_rows(
    block: Block, states: Tensor, scores: Tensor, scales: Scales | None, products: Products
) -> tuple[Tensor, Tensor]:
    """Sums (N, C, D) and normalizers (N, C, 1): from before the chunk and from within it."""
    phi_q, values = block.phi_q, block.values
    if products.rounds:
        rows = products.exact("rows", products.bmm("rows", phi_q, states.mT))
        if scales is not None:
            rows.mul_(scales.since)
        rows.add_(products.exact("within", products.bmm("within", scores, values)))
        return rows[..., :-1], rows[..., -1:]
    # Apart: float32 products of width D + 1 cost a fifth more than those of width D.
    total = products.bmm("total", phi_q, states[:, :-1].mT)
    normalizer = torch.bmm(phi_q, states[:, -1:].mT)
    if scales is None:
        normalizer.baddbmm_(scores, values[..., -1:])  # scores of padding are not zero
    else:
        total.mul_(scales.since)
        normalizer.mul_(scales.since).add_(scores.sum(-1, keepdim=True))
    return total.baddbmm_(scores, values[..., :-1]), normalizer


def log_scale(block: Block, scales: Scales | None, like: Tensor) -> Tensor:
    """(N, C, 1): log2 of what was taken out of each row of sums."""
    total = torch.zeros_like(like)
    for taken in (scales and scales.peak, block.peak_q):
        if taken is not None:
            total += taken.view_as(like)
    return total


def grad_values(
    block: Block, kept: Kept, d_sums: Tensor, d_states: Tensor, products: Products
) -> Tensor:
    """(N, C, D), from the states after each chunk and from the rows of the chunk."""
    if products.rounds:  # all of the state: a part of it would be copied first
        rows = products.exact("rows", products.bmm("rows", block.phi_k, d_states.mT))
        if kept.scales is not None:
            rows.mul_(kept.scales.until)
        within = products.bmm("within", kept.scores.mT, d_sums)
        return rows.add_(products.exact("within", within))[..., :-1]
    total = products.bmm("total", block.phi_k, d_states[:, :-1].mT)
    if kept.scales is not None:
        total.mul_(kept.scales.until)
    return total.baddbmm_(kept.scores.mT, d_sums[..., :-1])
