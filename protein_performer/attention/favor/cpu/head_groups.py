"""What the two CPU schedules share: a group of heads, block after block, in reused buffers.

Shapes: B batch, H heads, L positions, D head width, M features, E = D + 1, T positions of a block,
R rows of the batch in a group, K heads of each, G = R K.

The large temporaries of the inner loops live in a `Scratch`. A small product costs as much to call
as to compute, so heads and chunks are worked on together, and rows where a row's heads are few.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from protein_performer.attention.favor.cpu.scratch import Scratch
from protein_performer.attention.favor.features import FeatureMap
from protein_performer.attention.favor.linear import Operands

PaddingIndex = tuple[Tensor, slice, Tensor]
Group = tuple[slice, slice]  # an index into (B, H, ...) tensors that gives (R, K, ...) views


def padding_positions(mask: Tensor | None, at: slice) -> PaddingIndex | None:
    """An index into (R, K, T, ...) blocks: their padding, if there is any; mask is (R, L)."""
    if mask is None or mask[:, at].all():
        return None
    rows, positions = (~mask[:, at]).nonzero(as_tuple=True)
    return rows, slice(None), positions  # few: a twentieth of the time of `masked_fill`


def _zero(block: Tensor, length: int, padding: PaddingIndex | None) -> Tensor:
    if padding is not None:
        block[padding] = 0  # it may hold anything, even NaN
    if length < block.shape[2]:
        block[:, :, length:] = 0
    return block.flatten(0, 1)


def _of_group(x: Tensor, group: Group, dims: int = 2) -> Tensor:
    """(H, ...) or (B, H, ...) with so many more dimensions -> (G, ...)."""
    if x.dim() == dims + 1:
        x = x.expand(group[0].stop, *x.shape)
    return x[group].flatten(0, 1)


class BlockFeatures:
    """The feature map of one group of heads, and its gradient, for a block of positions."""

    def __init__(self, features: FeatureMap, group: Group, scratch: Scratch) -> None:
        weight, offset, norm = features.weight, features.offset, features.norm
        self.weight = weight if weight.dim() == 2 else _of_group(weight, group)  # (M, D), (G, M, D)
        if offset is not None and offset.dim() > 1:
            offset = _of_group(offset, group, dims=1)[:, None]
        self.offset = offset  # None, (M,) or (G, 1, M)
        self.norm = norm if isinstance(norm, float) else _of_group(norm, group, dims=0)[:, None]
        self.map = features
        self.activation = features.activation
        self.exponential = features.activation is None
        # Keys of a weighted map have a factor of their own, besides features of order one.
        self.weighted = self.exponential or isinstance(norm, Tensor) or norm != 0
        self._in_place = not self.weighted and bool(self.activation and self.activation.in_place)
        self.lacking = features.epsilon if self._in_place else 0.0
        self._slope = self.weight * math.log(2) if self.exponential else self.weight
        self._scratch = scratch

    def project(self, x: Tensor, name: str) -> Tensor:
        """(G, T, D), contiguous -> (G, T, M), W x + offset, in the buffer of that name."""
        group, size, dim = x.shape
        num_features = self.weight.shape[-2]
        u = self._scratch(name, group, size, num_features)
        if self.weight.dim() == 2:  # one product for all heads
            torch.mm(x.view(-1, dim), self.weight.mT, out=u.view(-1, num_features))
        else:
            torch.bmm(x, self.weight.mT, out=u)
        if self.offset is not None:
            u.add_(self.offset)
        if self.exponential and self.map.epsilon:
            self._floor(u, name)
        return u

    def _floor(self, u: Tensor, name: str) -> None:
        """`FeatureMap.floored` in place; the derivative of the result stays in a buffer."""
        peak = u.amax(-1, keepdim=True)
        powers = u.sub_(peak).exp2_()
        slope = self._scratch(name + " slope", *u.shape)
        slope.copy_(powers)
        slope.div_(powers.add_(self.map.epsilon))
        powers.log2_().add_(peak)

    def log_norm(self, x: Tensor) -> Tensor:
        """(G, T, D) -> (G, T), norm |x|^2."""
        norms: Tensor = torch.linalg.vector_norm(x, dim=-1)
        return norms.square_().mul_(self.norm)

    def activate(self, u: Tensor, name: str) -> Tensor:
        """f(u) + epsilon; u stays as it is, for the gradient."""
        assert self.activation is not None
        phi: Tensor = self.activation.value(u, out=self._scratch(name, *u.shape))
        return phi if self.map.epsilon == 0 else phi.add_(self.map.epsilon)

    def activate_in_place(self, u: Tensor, name: str) -> Tensor:
        """f(u) + epsilon - `lacking`, in u itself if the gradient can do with that."""
        if not self._in_place:
            return self.activate(u, name)
        assert self.activation is not None
        phi: Tensor = self.activation.value(u, out=u)
        return phi

    def backward(
        self, d_phi: Tensor, phi: Tensor, u: Tensor, name: str, key: Tensor | None = None
    ) -> Tensor:
        """From the gradient of features, which is overwritten, to that of queries or keys.

        Args:
            d_phi, phi: (G, ..., M), as many rows as u.
            u: (G, T, M), read by elementwise maps only.
            name: of the buffer that `project` was given last for these positions.
            key: (G, T, D) for keys, whose norm has a gradient too; a query's norm cancels.

        Returns: (G, T, D), in a buffer.
        """
        group, size, num_features = u.shape
        d_phi, phi = d_phi.view_as(u), phi.view_as(u)
        d_weight = None
        if self.activation is None:
            d_u = d_phi.mul_(phi)
            if key is not None:
                d_weight = d_u.sum(-1, keepdim=True)
            if self.map.epsilon:
                d_u.mul_(self._scratch(name + " slope", *u.shape))
        else:
            if key is not None and self.weighted:
                d_weight = (d_phi * phi).sum(-1, keepdim=True)
            d_u = self.activation.backward(d_phi, u)
        dim = self._slope.shape[-1]
        d_x = self._scratch("d_x", group, size, dim)
        if self._slope.dim() == 2:
            torch.mm(d_u.view(-1, num_features), self._slope, out=d_x.view(-1, dim))
        else:
            torch.bmm(d_u, self._slope, out=d_x)
        if key is not None and d_weight is not None:
            norm = self.norm if isinstance(self.norm, float) else self.norm[..., None]
            d_x.addcmul_(key, d_weight.mul_(2 * math.log(2) * norm))
        return d_x


def by_row(x: Tensor, like: Tensor) -> Tensor:
    """(G, ...) -> (R, K, ...), with the rows and heads of the other, (R, K, ...)."""
    return x.view(*like.shape[:2], *x.shape[1:])


class Heads(NamedTuple):
    """One group: heads of one row of the batch, or all heads of several."""

    q: Tensor  # (R, K, L, D)
    k: Tensor
    v: Tensor
    mask: Tensor | None  # (R, L)
    normalize: bool
    phi: BlockFeatures
    scratch: Scratch

    @property
    def size(self) -> int:
        """G."""
        return self.q.shape[0] * self.q.shape[1]

    def load(self, name: str, x: Tensor, positions: int, padding: PaddingIndex | None) -> Tensor:
        """(R, K, T, D) -> (G, positions, D), in a buffer; zeros at padding, and from T on."""
        rows, heads, length, dim = x.shape
        block = self.scratch(name, rows, heads, positions, dim)
        block[:, :, :length] = x
        return _zero(block, length, padding)

    def load_values(self, v: Tensor, positions: int, padding: PaddingIndex | None) -> Tensor:
        """(R, K, T, D) -> (G, positions, E): values and a one; zeros as in `load`."""
        rows, heads, length, dim = v.shape
        block = self.scratch("values", rows, heads, positions, dim + 1)
        block[:, :, :length, :dim] = v
        block[..., dim] = 1
        return _zero(block, length, padding)

    def grad_sums(self, grad: Tensor, factor: Tensor, out: Tensor, positions: int) -> Tensor:
        """(G, positions, E), gradients of rows of sums and of their normalizers; zeros from T on.

        Args:
            grad, out: (R, K, T, D), out = factor times the sums.
            factor: (R, K, T, 1), one over the normalizer if `normalize`, otherwise a constant.
            positions: T or more.
        """
        rows, heads, size, dim = out.shape
        d_rows = self.scratch("d_rows", rows, heads, positions, dim + 1)
        of_tokens = d_rows
        if size < positions:
            d_rows[:, :, size:] = 0
            of_tokens = d_rows[:, :, :size]
        d_sums = torch.mul(grad, factor, out=of_tokens[..., :dim])
        if self.normalize:
            products = torch.mul(d_sums, out, out=self.scratch("total", *out.shape))
            torch.neg(products.sum(-1), out=of_tokens[..., dim])
        else:
            of_tokens[..., dim] = 0
        return d_rows.flatten(0, 1)


def head_groups(operands: Operands, size: int) -> Iterator[tuple[Group, Heads]]:
    """Groups of at most `size` heads, with their part of the operands."""
    q, k, v, features, key_mask, normalize, _ = operands
    scratch = Scratch.borrow(q)
    for group in _groups(q.shape[0], q.shape[1], size):
        mask = None if key_mask is None else key_mask[group[0]]
        phi = BlockFeatures(features, group, scratch)
        yield group, Heads(q[group], k[group], v[group], mask, normalize, phi, scratch)
    scratch.give_back()


def _groups(num_rows: int, num_heads: int, size: int) -> Iterator[Group]:
    rows, heads = max(1, size // num_heads), min(size, num_heads)
    for row in range(0, num_rows, rows):
        for head in range(0, num_heads, heads):
            yield (
                slice(row, min(row + rows, num_rows)),
                slice(head, min(head + heads, num_heads)),
            )
