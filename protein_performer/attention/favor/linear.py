"""Linear attention by sums of keys times values: this is FAVOR+, in plain PyTorch.

Shapes: B batch, H heads, L positions, D head width, M features, E = D + 1, C positions of a chunk,
N = ceil(L / C) chunks, T keys of a block.

Read after `features.py`. It has no loop over positions and does not wait for the host, so it is
what runs on a GPU, in a compiler and in steps; `cpu/` computes the same in an order that suits a
processor's caches.

Everything is relative to a power of two that is carried along, so that no scale of q and k loses a
row: exponential features of keys to the largest of each feature, then those of a query to its
largest. These powers cancel in the ratio and have no gradient.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from protein_performer.attention.favor.features import FeatureMap
from protein_performer.attention.favor.precision import Precision
from protein_performer.attention.favor.scan import State, finite, running

CHUNK = 128  # a power of two
MOST_CHUNKS = 128
GUARD = 1e-6


class Operands(NamedTuple):
    """What linear attention is given.

    Attributes:
        q, k, v: (B, H, L, D), all float32 or all float64, of any dtype where products are rounded;
            q and k times the gain of the features.
        features: in base 2 (`FeatureMap.base2`); constants to the gradient.
        key_mask: (B, L) bool or None.
        normalize: divide by the sum of the weights.
        precision: of products.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    features: FeatureMap
    key_mask: Tensor | None
    normalize: bool
    precision: Precision

    def of_row(self, row: int) -> "Operands":
        """Those of one row of the batch, as a batch of its own."""
        at = slice(row, row + 1)
        return self._replace(
            q=self.q[at],
            k=self.k[at],
            v=self.v[at],
            features=self.features.of_row(row),
            key_mask=None if self.key_mask is None else self.key_mask[at],
        )


class Keys(NamedTuple):
    """Keys and values of some positions, (..., T, *)."""

    features: Tensor  # (..., T, M); if exponential, log2 of the features times the keys' weights
    weight: Tensor | None  # (..., T, 1), log2 of each key's weight; None if exponential
    values: Tensor  # (..., T, E): values and a one; zeros at padding

    def relative(self) -> tuple[Tensor, Tensor, Tensor]:
        """Features and values, whose products are relative to 2^peak, and the peak."""
        if self.weight is None:
            peak = finite(self.features.detach().amax(-2, keepdim=True))
            return torch.exp2(self.features - peak), self.values, peak
        peak = finite(self.weight.detach().amax(-2, keepdim=True))
        return self.features, self.values * torch.exp2(self.weight - peak), peak

    def summed(self, precision: Precision) -> State:
        """The sums over all of the keys."""
        phi, values, peak = self.relative()
        return State(precision.sum_keys(values, phi), peak)


class Queries(NamedTuple):
    """Queries of some positions."""

    features: Tensor  # (..., T, M); if exponential, log2 of the features
    exponential: bool

    def relative(self, peak: Tensor) -> tuple[Tensor, Tensor]:
        """Features (..., T, M), for sums relative to 2^peak, and the products' scale."""
        if not self.exponential:
            return self.features, peak
        log = self.features + peak
        scale = log.detach().amax(-1, keepdim=True)
        return torch.exp2(log - scale), scale

    def read(self, state: State, precision: Precision) -> "Rows":
        """All queries meet all keys of the sums."""
        phi, scale = self.relative(state.peak)
        return Rows(precision.sum_rows(phi, state.sums.mT), scale)


class Rows(NamedTuple):
    """What some keys contribute to queries, relative to 2^scale."""

    sums: Tensor  # (..., T, E)
    scale: Tensor  # (..., T, 1), or one that expands to it

    def plus(self, other: "Rows") -> "Rows":
        """The contributions of both."""
        scale = torch.maximum(self.scale, other.scale)
        ours, theirs = (torch.exp2(x.scale - scale) for x in (self, other))
        return Rows(self.sums * ours + other.sums * theirs, scale)


def bidirectional(operands: Operands) -> Tensor:
    """out_i = factor_i sum_j phi(q_i).phi(k_j) v_j.

    Returns: (B, H, L, D), arbitrary but finite at padding.
    """
    queries, keys = _features(operands)
    precision = operands.precision
    return _outputs(queries.read(keys.summed(precision), precision), operands)


def causal(operands: Operands, state: State | None = None) -> tuple[Tensor, State]:
    """Attention to the keys j <= i, and to those that the state has seen.

    A query meets the keys of earlier chunks in the state before its own, those of its chunk by
    halves: nothing is ever relative to a later key.

    Returns: (B, H, L, D), arbitrary but finite at padding, and the state after the last position.
    """
    batch, heads, length = operands.q.shape[:3]
    queries, keys = _features(operands)
    queries, keys = _in_chunks(queries, keys, _chunk_length(length))
    precision = operands.precision
    before, after = running(state or first_state(operands), keys.summed(precision))
    rows = _by_halves(queries, keys, precision).plus(queries.read(before, precision))
    rows = Rows(*(x.view(batch, heads, -1, x.shape[-1])[:, :, :length] for x in rows))
    return _outputs(rows, operands), after


def first_state(operands: Operands) -> State:
    """The state before any key."""
    q, v, features = operands.q, operands.v, operands.features
    num_features = features.weight.shape[-2]
    dtype = operands.precision.exact
    sums = q.new_zeros(*q.shape[:2], v.shape[-1] + 1, num_features, dtype=dtype)
    peaks = num_features if features.activation is None else 1
    lowest = q.new_full((*q.shape[:2], 1, peaks), -torch.inf, dtype=dtype)
    return State(sums, finite(lowest))


def divisor(normalizer: Tensor, features: FeatureMap) -> Tensor:
    """What a row of sums is divided by: its normalizer, made safe.

    Infinite, so that outputs and gradients are zero, where the normalizer vanishes: in a row
    without tokens, or in one that `cpu/` has lost and computes again. Kernels of either sign may
    have a vanishing normalizer for other rows too; they get the authors' guard, R + 2 GUARD where
    |R| <= GUARD (Choromanski et al. 2021, appendix A.3), and may diverge.
    """
    if features.activation is not None and not features.activation.positive:
        return normalizer + 2 * GUARD * (normalizer.abs() <= GUARD)
    # Nearer to the smallest number, terms that underflow would show, and gradients overflow.
    visible = normalizer >= torch.finfo(normalizer.dtype).tiny ** 0.75
    return torch.where(visible, normalizer, torch.inf)


def _outputs(rows: Rows, operands: Operands) -> Tensor:
    """(B, H, L, E) -> (B, H, L, D)."""
    values, normalizer = rows.sums[..., :-1], rows.sums[..., -1:]
    if operands.normalize:
        return values / divisor(normalizer, operands.features)
    return values * rows.scale.exp2()


def _features(operands: Operands) -> tuple[Queries, Keys]:
    """Of all positions, (B, H, L, *)."""
    features, key_mask = operands.features, operands.key_mask
    q, k, v = (x.to(operands.precision.exact) for x in operands[:3])
    u_q, u_k = (x @ features.weight.mT for x in (q, k))
    if features.offset is not None:
        u_q, u_k = (u + features.offset[..., None, :] for u in (u_q, u_k))
    norm = features.norm[..., None, None] if isinstance(features.norm, Tensor) else features.norm
    weight = k.square().sum(-1, keepdim=True) * norm
    values = torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)
    if key_mask is not None:
        padding = ~key_mask[:, None, :, None]
        weight, values = weight.masked_fill(padding, -torch.inf), values.masked_fill(padding, 0.0)
    if features.activation is None:
        u_q, u_k = features.floored(u_q), features.floored(u_k)
        return Queries(u_q, True), Keys(u_k + weight, None, values)
    phi_q, phi_k = (features.activation.value(u) + features.epsilon for u in (u_q, u_k))
    return Queries(phi_q, False), Keys(phi_k, weight, values)


def _chunk_length(length: int) -> int:
    """C, a power of two; more than CHUNK where there would be more than MOST_CHUNKS."""
    chunk = CHUNK
    if torch.compiler.is_exporting():  # the length may be a symbol
        return chunk
    while chunk >= 2 * length and chunk > 1:
        chunk //= 2
    while chunk * MOST_CHUNKS < length:
        chunk *= 2
    return chunk


def _in_chunks(queries: Queries, keys: Keys, chunk: int) -> tuple[Queries, Keys]:
    """(B, H, L, *) -> (B H N, C, *); what fills the last chunk up has no weight.

    In one dimension, since a compiler that knows no L or N finds their products hard to compare.
    """

    def chunked(x: Tensor, filling: float) -> Tensor:
        batch, heads, length, width = x.shape
        # An exporter takes a dimension of 1 for a constant: it gets an empty chunk more.
        chunks = (length + chunk - 1) // chunk + torch.compiler.is_exporting()
        x = pad(x, (0, 0, 0, chunks * chunk - length), value=filling)
        return x.reshape(batch * heads * chunks, chunk, width)

    features, weight, values = keys
    if weight is not None:
        weight = chunked(weight, -torch.inf)
    features = chunked(features, -torch.inf if weight is None else 0.0)
    filled = Keys(features, weight, chunked(values, 0.0))
    return queries._replace(features=chunked(queries.features, 0.0)), filled


def _by_halves(queries: Queries, keys: Keys, precision: Precision) -> Rows:
    """Each query of a chunk meets the keys of its chunk up to its own.

    Blocks of two, four, ... positions: the queries of the second half meet all keys of the first,
    relative to the peak of those, which all come earlier.
    """
    rows = _own(queries, keys)
    half, chunk = 1, queries.features.shape[-2]
    while half < chunk:
        late = queries._replace(features=_halves(queries.features, half)[1])
        phi_k, values, peak = Keys(
            *(x if x is None else _halves(x, half)[0] for x in keys)  # type: ignore[arg-type]
        ).relative()
        phi_q, scale = late.relative(peak)
        scores = precision.product(phi_q, phi_k.mT)
        sums = precision.sum_rows(scores, values)
        seen = Rows(sums, scale.expand(*phi_q.shape[:-1], 1))
        first, second = (Rows(*x) for x in zip(*(_halves(x, half) for x in rows), strict=True))
        both = zip(first, second.plus(seen), strict=True)
        rows = Rows(*(torch.stack(x, dim=-3).flatten(-4, -2) for x in both))
        half *= 2
    return rows


def _halves(x: Tensor, half: int) -> tuple[Tensor, Tensor]:
    """(..., C, *) -> first and second halves of blocks, each (..., C / (2 half), half, *)."""
    first, second = x.view(*x.shape[:-2], -1, 2, half, x.shape[-1]).unbind(-3)
    return first, second


def _own(queries: Queries, keys: Keys) -> Rows:
    """Each query meets the key of its own position."""
    if keys.weight is not None:
        products = (queries.features * keys.features).sum(-1, keepdim=True)
        return Rows(products * keys.values, finite(keys.weight))
    log = queries.features + keys.features
    scale = finite(log.detach().amax(-1, keepdim=True))
    return Rows(torch.exp2(log - scale).sum(-1, keepdim=True) * keys.values, scale)
