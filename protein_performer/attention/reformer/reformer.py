"""Reformer: attention among the positions that a hash of their queries brings together.

Shapes: B batch, H heads, L positions, D head width, R hash rounds, C chunk.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from protein_performer.attention.favor.projections import stream
from protein_performer.attention.mechanism import Mechanism
from protein_performer.attention.protocol import LayerSpec
from protein_performer.attention.reformer.chunked import Layout, attend
from protein_performer.errors import UserError

_MAX_FACTOR = 128  # buckets of one rotation; more are the product of two
_NORM_EPS = 1e-6  # under the square root of |q|^2: keys of zero queries are zero, not 0 / 0


class Reformer(Mechanism):
    """Locality-sensitive hashing attention with shared queries and keys.

    In each round, positions are sorted by the hash of their query and cut into chunks; a position
    attends to its chunk and the one before it, bidirectional also the one after. Its logits are
    q_i . q_j / |q_j|. Itself it sees only when there is nothing else. The rounds count as one
    softmax over all that they show, repeats included.

    Source: Kitaev et al. 2020, arXiv:2001.04451, section 2, with the scale and the hash of the
    authors' code (trax): unit keys and no further 1 / sqrt(D); 2 L / C buckets, those above 128 as
    the product of two hashes. It differs from that code where padding could be felt or where it
    serves one direction only:

    - padding takes no place in any chunk, and L counts the row's tokens;
    - the first chunk of a round does not look back at the last one;
    - bidirectional, a chunk also looks one ahead.

    Causality: no query, key or value of a later position enters an output. Which earlier positions
    share a chunk is decided by a sort of all positions and may depend on later queries' hashes.

    The hash is decided by the largest of a few numbers; rounding decides between equals, about once
    in a million tokens in float32.

    Args:
        spec: heads, width, direction, seed.
        chunk: C.
        num_rounds: hash rounds in training.
        num_rounds_eval: in evaluation; None: as in training.
        num_buckets: of each round, for all lengths; None: 2 * max(1, L // C).
    """

    shared_query_key = True

    rotations: Tensor

    def __init__(
        self,
        spec: LayerSpec,
        *,
        chunk: int = 64,
        num_rounds: int = 4,
        num_rounds_eval: int | None = None,
        num_buckets: int | None = None,
    ) -> None:
        super().__init__()
        self.num_rounds = num_rounds
        self.num_rounds_eval = num_rounds if num_rounds_eval is None else num_rounds_eval
        if min(chunk, num_rounds, self.num_rounds_eval) < 1:
            raise UserError(
                "reformer: expected attention.chunk and rounds of at least 1, got"
                f" chunk={chunk}, num_rounds={num_rounds}, num_rounds_eval={num_rounds_eval}"
            )
        self.spec = spec
        self.chunk = chunk
        self.columns = None if num_buckets is None else hash_columns(num_buckets)
        rounds = max(self.num_rounds, self.num_rounds_eval)
        # Enough columns for any length; shared by the heads, whose projections differ anyway.
        shape = (2, spec.head_dim, rounds, _MAX_FACTOR // 2)
        self.register_buffer("rotations", torch.empty(shape))
        self.redraw_(0)

    @torch.no_grad()
    def redraw_(self, count: int) -> None:
        """Draw the hash rotations number `count`, a function of (seed, layer, count)."""
        generator = stream(self.spec.seed, self.spec.layer, count)
        self.rotations.copy_(torch.randn(self.rotations.shape, generator=generator, device="cpu"))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None) -> Tensor:
        """See `Mechanism`; k must be q itself."""
        if k is not q:
            raise UserError("reformer: queries are the keys; expected k to be the tensor q itself")
        with torch.autocast(q.device.type, enabled=False), torch.no_grad():
            layout = self._layout(q, key_mask)
        dtype = v.dtype
        if torch.is_autocast_enabled(q.device.type):
            dtype = torch.get_autocast_dtype(q.device.type)
        with torch.autocast(q.device.type, enabled=False):
            # Squares of half-precision numbers overflow.
            exact = q.to(torch.promote_types(q.dtype, torch.float32))
            keys = exact * (exact.square().sum(-1, keepdim=True) + _NORM_EPS).rsqrt()
            queries, keys, values = (x.to(dtype).flatten(0, 1) for x in (exact, keys, v))
            return attend(queries, keys, values, layout).view_as(v)

    def _layout(self, q: Tensor, key_mask: Tensor | None) -> Layout:
        """Who stands where: tokens sorted by bucket, those of a bucket by position."""
        length = q.shape[2]
        buckets = self._hash(q, key_mask)  # (B, H, R, L)
        num_tokens: Tensor | int = length
        if key_mask is not None:
            buckets = buckets.masked_fill(~key_mask[:, None, None], _MAX_FACTOR**2)  # the last
            num_tokens = key_mask.sum(-1)[:, None, None, None]
        order = buckets.to(torch.int16).argsort(dim=-1, stable=True)
        places = torch.arange(length, device=q.device)
        inverse = torch.empty_like(order).scatter_(-1, order, places.expand_as(order))
        order = order.masked_fill(places >= num_tokens, length)
        order = pad(order, (0, -length % self.chunk), value=length)
        return Layout(order.flatten(0, 1), inverse.flatten(0, 1), self.chunk, self.spec.causal)

    def _hash(self, q: Tensor, key_mask: Tensor | None) -> Tensor:
        """(B, H, L, D) -> (B, H, R, L) int64 buckets, numbered from 0 with gaps."""
        rounds = self.num_rounds if self.training else self.num_rounds_eval
        # Columns by the number of whole chunks of tokens in a row; all rows alike without padding.
        chunks = q.shape[2] // self.chunk
        columns, rows = [self.columns or _columns(chunks)], None
        if key_mask is not None and self.columns is None:
            columns = [_columns(number) for number in range(chunks + 1)]
            rows = torch.tensor(columns, device=q.device)[key_mask.sum(-1) // self.chunk]
        q = q.to(self.rotations.dtype)
        buckets = torch.zeros(*q.shape[:3], rounds, dtype=torch.int64, device=q.device)
        for factor, width in enumerate(map(max, zip(*columns, strict=True))):
            if width:
                rotations = self.rotations[factor, :, :rounds, :width].flatten(1)
                projected = (q @ rotations).view(*buckets.shape, width)
                own = None if rows is None else rows[:, factor]
                buckets += _MAX_FACTOR**factor * _cross_polytope(projected, own)
        return buckets.transpose(-1, -2)


def hash_columns(num_buckets: int) -> tuple[int, int]:
    """How many directions each of the two hashes has; either sign of one is a bucket.

    >>> hash_columns(32), hash_columns(192), hash_columns(256)
    ((16, 0), (6, 8), (8, 8))

    Raises: UserError if that number of buckets cannot be made.
    """
    if num_buckets >= 2 and num_buckets % 2 == 0 and num_buckets <= _MAX_FACTOR:
        return num_buckets // 2, 0
    for factor in range(2 * (math.isqrt(max(num_buckets, 0)) // 2), 1, -2):
        other = num_buckets // factor
        if factor * other == num_buckets and other % 2 == 0 and other <= _MAX_FACTOR:
            return factor // 2, other // 2
    raise UserError(
        f"reformer: expected attention.num_buckets to be even and, above {_MAX_FACTOR}, the product"
        f" of two even numbers up to {_MAX_FACTOR}; got {num_buckets}. null takes 2 L / chunk."
    )


def _columns(chunks: int) -> tuple[int, int]:
    """Columns of two buckets for each of so many whole chunks, at least one.

    Above 128 the number of buckets is rounded down to a power of two, as in trax, and it grows no
    further than two hashes go.
    """
    buckets = 2 * max(1, chunks)
    if buckets > _MAX_FACTOR:
        buckets = min(1 << (buckets.bit_length() - 1), _MAX_FACTOR**2)
    return hash_columns(buckets)


def _cross_polytope(projected: Tensor, columns: Tensor | None) -> Tensor:
    """Argmax over [x; -x] of (B, .., c) projections, of which each row has (B,) columns, or all.

    Source: Andoni et al. 2015, arXiv:1509.02897, section 3. Returns: (B, ..) int64.
    """
    size = projected.abs()
    if columns is not None:
        columns = columns.view(-1, *[1] * (projected.dim() - 1))
        size.masked_fill_(torch.arange(projected.shape[-1], device=size.device) >= columns, -1.0)
    largest = size.argmax(-1, keepdim=True)
    buckets = largest + (_MAX_FACTOR // 2) * (projected.gather(-1, largest) < 0)
    if columns is not None:
        buckets.masked_fill_(columns == 0, 0)
    return buckets[..., 0]
