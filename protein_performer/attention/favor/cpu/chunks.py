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

from protein_performer.attention.favor.cpu.scratch import Scratch


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


def mask_pairs(scores: Tensor, scales: Scales | None, scratch: Scratch) -> Tensor:
    """(N, C, C) times the weight of each pair, zero where the key is later; in place."""
    if scales is None:
        return scores.tril_()
    pairs = scratch("pairs", *scales.weight.shape, scores.shape[-1])
    torch.sub(scales.weight[..., None, :], scales.peak[..., None], out=pairs)
    # A later key may be far beyond the row's peak: it is cut off before the product.
    return scores.mul_(pairs.exp2_().tril_().view_as(scores))


def scaled(x: Tensor, scale: Tensor | None, buffer: str, scratch: Scratch) -> Tensor:
    """The product of x and the scale in a buffer, or x itself."""
    return x if scale is None else torch.mul(x, scale, out=scratch(buffer, *x.shape))


def pass_states(
    state: Tensor, added: Tensor, scales: Scales | None, out: Tensor, *, backwards: bool = False
) -> Tensor:
    """Carries the state through the chunks.

    Args:
        state: (G, E, M), moved on in place to the end of the block.
        added: (N, E, M), what each chunk adds.
        scales: of the block, if keys are weighted.
        out: (N, E, M), gets the state as each chunk finds it.
        backwards: from the last chunk to the first, as gradients go.
    """
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
    return out


def sum_rows(
    block: Block, states: Tensor, scores: Tensor, scales: Scales | None, scratch: Scratch
) -> tuple[Tensor, Tensor]:
    """Sums (N, C, D) and normalizers (N, C, 1): from before the chunk and from within it."""
    phi_q, values = block.phi_q, block.values
    size, chunk, width = values.shape
    # Apart: products of width D + 1 cost a fifth more than those of width D.
    total = scratch("total", size, chunk, width - 1)
    torch.bmm(phi_q, states[:, :-1].mT, out=total)
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
    block: Block, kept: Kept, d_sums: Tensor, d_states: Tensor, scratch: Scratch
) -> Tensor:
    """(N, C, D), from the states after each chunk and from the rows of the chunk."""
    size, chunk, width = d_sums.shape
    total = scratch("total", size, chunk, width - 1)
    torch.bmm(block.phi_k, d_states[:, :-1].mT, out=total)
    if kept.scales is not None:
        total.mul_(kept.scales.until)
    return total.baddbmm_(kept.scores.mT, d_sums[..., :-1])
