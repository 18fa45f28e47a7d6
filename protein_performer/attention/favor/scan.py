"""Sums over keys, and how they run from chunk to chunk without a loop.

Shapes: B batch, H heads, M features, E = D + 1, N chunks, S groups of them.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

GROUP = 16  # chunks


class State(NamedTuple):
    """Sums over keys. Those of all keys so far are what causal attention knows of the past.

    Attributes:
        sums: (B, H, E, M), of the values, then of their normalizer, relative to 2^peak.
        peak: log2, (B, H, 1, M) of exponential features, (B, H, 1, 1) of others.
    """

    sums: Tensor
    peak: Tensor

    def plus(self, other: "State") -> "State":
        """The sums over the keys of both."""
        peak = torch.maximum(self.peak, other.peak)
        ours, theirs = (x.sums * torch.exp2(x.peak - peak) for x in (self, other))
        return State(ours + theirs, peak)


def running(state: State, chunks: State) -> tuple[State, State]:
    """The state before each chunk, (B H N, E, M) and (B H N, 1, *), and the one after the last.

    Args:
        state: before the first chunk.
        chunks: the sums of each, in the same shapes as those before it.
    """
    batch = state.sums.shape[:2]
    each = State(*(x.view(*batch, -1, *x.shape[1:]) for x in chunks))
    # An exported graph cannot take longer chunks for more positions.
    scan = _by_groups if torch.compiler.is_exporting() else _at_once
    before, after = scan(state, each)
    return State(*(x.flatten(0, 2) for x in before)), after


def finite(peak: Tensor) -> Tensor:
    """The maximum over padding alone is -inf, and -inf - (-inf) would be NaN."""
    return peak.clamp_min(_lowest(peak))


def _at_once(state: State, chunks: State) -> tuple[State, State]:
    """The state before each of (B, H, N, E, M), and the one after, in memory O(N^2 M).

    Each is the sum of all states up to it, times 2^(its peak - the new peak), in one product.
    """
    sums, peak = (torch.cat([x[:, :, None], y], 2) for x, y in zip(state, chunks, strict=True))
    highest = peak.cummax(2).values
    old, new = (x[..., 0, :].transpose(2, 3) for x in (peak, highest))  # (B, H, M or 1, N + 1)
    exponents = old[..., None, :] - new[..., :, None]
    earlier = torch.ones_like(exponents[0, 0, 0], dtype=torch.bool).tril()
    factors = exponents.masked_fill(~earlier, -torch.inf).exp2()  # (B, H, M or 1, N + 1, N + 1)
    by_peak = sums[..., None] if peak.shape[-1] == 1 else sums[..., None, :]
    passed = torch.einsum("bhmij,bhjerm->bhierm", factors, by_peak).flatten(-2)
    before = State(passed[:, :, :-1], highest[:, :, :-1])
    return before, State(passed[:, :, -1], highest[:, :, -1])


def _by_groups(state: State, chunks: State) -> tuple[State, State]:
    """As `_at_once`, in memory O(N GROUP M + (N / GROUP)^2 M): within groups, and of groups."""
    batch, heads, number = chunks.sums.shape[:3]
    groups = number // GROUP + 2  # an exporter takes a dimension of 1 for a constant
    empty = (0, 0, 0, 0, 0, groups * GROUP - number)
    filled = State(pad(chunks.sums, empty), pad(chunks.peak, empty, value=_lowest(chunks.peak)))
    grouped = State(*(x.view(batch, heads * groups, GROUP, *x.shape[3:]) for x in filled))
    nothing = State(
        torch.zeros_like(grouped.sums[:, :, 0]),
        torch.full_like(grouped.peak[:, :, 0], _lowest(chunks.peak)),
    )
    within, totals = _at_once(nothing, grouped)
    totals = State(*(x.view(batch, heads, groups, *x.shape[2:]) for x in totals))
    before, after = _at_once(state, totals)
    within = State(*(x.view(batch, heads, groups, GROUP, *x.shape[3:]) for x in within))
    each = State(*(x[:, :, :, None] for x in before)).plus(within)
    return State(*(x.flatten(2, 3)[:, :, :number] for x in each)), after


def _lowest(peak: Tensor) -> float:
    return torch.finfo(peak.dtype).min / 4
