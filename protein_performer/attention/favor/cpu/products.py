"""Products in the dtype of the call's operands, in reused buffers.

A product of bfloat16 operands adds in float32 and is rounded when it is written. PyTorch has no
product of such operands into a float32 tensor on a CPU, and an elementwise operation of both dtypes
takes six times as long as a copy and an operation of one: hence `operand` and `exact`.
"""

import torch
from torch import Tensor

from protein_performer.attention.favor.cpu.scratch import Scratch
from protein_performer.attention.favor.precision import Precision


class Products:
    """Without rounding each of these is what its body says; then nothing is copied."""

    def __init__(self, precision: Precision, scratch: Scratch) -> None:
        self.precision = precision
        self.scratch = scratch
        self.rounds = precision.rounds

    def operand(self, name: str, x: Tensor, *, keep: bool = False) -> Tensor:
        """X in the dtype of operands: itself, or a copy in the buffer of that name, or to keep."""
        return self._converted(name, x, self.precision.operands, keep)

    def exact(self, name: str, x: Tensor) -> Tensor:
        """X in the dtype of sums: itself, or a copy in the buffer of that name."""
        return self._converted(name, x, self.precision.exact)

    def _converted(self, name: str, x: Tensor, dtype: torch.dtype, keep: bool = False) -> Tensor:
        if x.dtype == dtype:
            return x
        if keep:
            return x.to(dtype)
        return self.scratch(name, *x.shape, dtype=dtype).copy_(x)

    def bmm(self, name: str, a: Tensor, b: Tensor, *, keep: bool = False) -> Tensor:
        """A @ b of operands (N, T, S) and (N, S, U), an operand again, in a buffer or to keep."""
        shape = *a.shape[:2], b.shape[-1]
        out = a.new_empty(shape) if keep else self.scratch(name, *shape, dtype=a.dtype)
        return torch.bmm(a, b, out=out)

    def mm(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """A @ b in the dtype of a, (N, T, S) with (S, U) or (N, S, U), in a buffer."""
        size, length, inner = a.shape
        out = self.scratch(name, size, length, b.shape[-1], dtype=a.dtype)
        if b.dim() == 2:  # one product for all heads
            torch.mm(a.view(-1, inner), b, out=out.view(-1, b.shape[-1]))
        else:
            torch.bmm(a, b, out=out)
        return out
