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

from protein_performer.attention.favor.cpu.products import Products
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
    """The feature map of one group of heads, and its gradient, for a block of positions.

    Attributes:
        input_dtype: of what is projected.
        copies: of each query and key, side by side, in what is projected.
    """

    def __init__(
        self, features: FeatureMap, group: Group, products: Products, dtype: torch.dtype
    ) -> None:
        """The dtype is that of queries and keys."""
        weight, offset, norm = features.weight, features.offset, features.norm
        weight = weight if weight.dim() == 2 else _of_group(weight, group)  # (M, D), (G, M, D)
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
        self.num_features = weight.shape[-2]
        self._products = products
        exact, operands = products.precision
        slope = weight * math.log(2) if self.exponential else weight
        self._slope = slope.to(operands)
        self.input_dtype, self.copies, self._weight = exact, 1, weight
        if dtype == operands != exact and self._in_place and offset is None:
            # The map scales with W x, so that W x rounded is no worse than features rounded; W is
            # the sum of two operands, or its rounding would turn the sign of some W x.
            rest = (weight - self._slope.to(exact)).to(operands)
            self.input_dtype, self.copies = operands, 2
            self._weight = torch.cat([self._slope, rest], dim=-1)

    def project(self, x: Tensor, name: str) -> Tensor:
        """What `Heads.load` gave -> (G, T, M), W x + offset, in the buffer of that name."""
        u = self._products.mm(name, x, self._weight.mT)
        if self.offset is not None:
            u.add_(self.offset)
        if self.exponential and self.map.epsilon:
            self._floor(u, name)
        return u

    def _floor(self, u: Tensor, name: str) -> None:
        """`FeatureMap.floored` in place; the derivative of the result stays in a buffer."""
        peak = u.amax(-1, keepdim=True)
        powers = u.sub_(peak).exp2_()
        slope = self._products.scratch(name + " slope", *u.shape)
        slope.copy_(powers)
        slope.div_(powers.add_(self.map.epsilon))
        powers.log2_().add_(peak)

    def log_norm(self, x: Tensor) -> Tensor:
        """(G, T, D) -> (G, T), norm |x|^2."""
        norms: Tensor = torch.linalg.vector_norm(x, dim=-1)
        return norms.square_().mul_(self.norm)

    def activate(self, u: Tensor, name: str) -> Tensor:
        """f(u) + epsilon, an operand; u stays as it is, for the gradient."""
        assert self.activation is not None
        out = self._products.scratch(name, *u.shape, dtype=u.dtype)
        phi: Tensor = self.activation.value(u, out=out)
        return self._products.operand(
            name, phi if self.map.epsilon == 0 else phi.add_(self.map.epsilon)
        )

    def activate_in_place(self, u: Tensor, name: str) -> Tensor:
        """f(u) + epsilon - `lacking`, an operand, in u itself if the gradient can do with that."""
        if not self._in_place:
            return self.activate(u, name)
        assert self.activation is not None
        phi: Tensor = self.activation.value(u, out=u)
        return self._products.operand(name, phi)

    def backward(
        self, d_phi: Tensor, phi: Tensor, u: Tensor, name: str, key: Tensor | None = None
    ) -> Tensor:
        """From the gradient of features, which is overwritten, to that of queries or keys.

        Args:
            d_phi, phi: (G, ..., M), operands, as many rows as u.
            u: (G, T, M), read by elementwise maps only.
            name: of the buffer that `project` was given last for these positions.
            key: (G, T, D) for keys, whose norm has a gradient too; a query's norm cancels.

        Returns: (G, T, D), in a buffer.
        """
        products = self._products
        d_phi, phi = d_phi.view_as(u), phi.view_as(u)
        d_weight = None
        if self.activation is None:
            d_u = d_phi.mul_(phi)
            if key is not None:
                d_weight = d_u.sum(-1, keepdim=True)
            if self.map.epsilon:
                slope = products.scratch(name + " slope", *u.shape)
                d_u.mul_(products.operand("slope", slope))
        else:
            if key is not None and self.weighted:
                d_weight = (d_phi * phi).sum(-1, keepdim=True)
            d_phi = d_phi if u.dtype == d_phi.dtype else products.exact("d_phi", d_phi)
            d_u = products.operand("d_phi", self.activation.backward(d_phi, u))
        d_x = products.mm("d_x", d_u, self._slope)
        if key is None or d_weight is None:
            return d_x
        d_x, d_weight = products.exact("d_x", d_x), products.exact("d_weight", d_weight)
        norm = self.norm if isinstance(self.norm, float) else self.norm[..., None]
        return d_x.addcmul_(key, d_weight.mul_(2 * math.log(2) * norm))


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
    products: Products

    @property
    def size(self) -> int:
        """G."""
        return self.q.shape[0] * self.q.shape[1]

    @property
    def scratch(self) -> Scratch:
        """Of exact numbers."""
        return self.products.scratch

    def zeros(self, *shape: int) -> Tensor:
        """(G, *shape), exact."""
        return self.v.new_zeros(self.size, *shape, dtype=self.products.precision.exact)

    def load(self, name: str, x: Tensor, positions: int, padding: PaddingIndex | None) -> Tensor:
        """(R, K, T, D) -> (G, positions, copies D), to be projected, in a buffer.

        Zeros at padding, and from T on.
        """
        rows, heads, length, dim = x.shape
        width, dtype = self.phi.copies * dim, self.phi.input_dtype
        block = self.scratch(name, rows, heads, positions, width, dtype=dtype)
        for first in range(0, width, dim):
            block[:, :, :length, first : first + dim] = x
        return _zero(block, length, padding)

    def load_values(self, v: Tensor, positions: int, padding: PaddingIndex | None) -> Tensor:
        """(R, K, T, D) -> (G, positions, E), operands: values and a one; zeros as in `load`."""
        rows, heads, length, dim = v.shape
        dtype = self.products.precision.operands
        block = self.scratch("values", rows, heads, positions, dim + 1, dtype=dtype)
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
        grad = self.products.exact("grad", grad)
        d_sums = torch.mul(grad, factor, out=of_tokens[..., :dim])
        if self.normalize:
            out = self.products.exact("total", out)
            products = torch.mul(d_sums, out, out=self.scratch("total", *out.shape))
            torch.neg(products.sum(-1), out=of_tokens[..., dim])
        else:
            of_tokens[..., dim] = 0
        return d_rows.flatten(0, 1)


def head_groups(operands: Operands, size: int) -> Iterator[tuple[Group, Heads]]:
    """Groups of at most `size` heads, with their part of the operands."""
    q, k, v, features, key_mask, normalize, precision = operands
    scratch = Scratch.borrow(q.new_empty(0, dtype=precision.exact))
    products = Products(precision, scratch)
    for group in _groups(q.shape[0], q.shape[1], size):
        mask = None if key_mask is None else key_mask[group[0]]
        phi = BlockFeatures(features, group, products, q.dtype)
        yield group, Heads(q[group], k[group], v[group], mask, normalize, phi, products)
    scratch.give_back()


def _groups(num_rows: int, num_heads: int, size: int) -> Iterator[Group]:
    rows, heads = max(1, size // num_heads), min(size, num_heads)
    for row in range(0, num_rows, rows):
        for head in range(0, num_heads, heads):
            yield (
                slice(row, min(row + rows, num_rows)),
                slice(head, min(head + heads, num_heads)),
            )
