"""Buffers that outlive a call.

A fresh allocation costs a CPU more than a pass over a buffer that is in its cache, so the large
temporaries of inner loops are lent, and the next call of the same thread gets them again.
"""

import math
import threading

import torch
from torch import Tensor

KEPT = 2**23  # elements that a thread's scratch may hold between calls
VIEWS = 256  # shapes that it remembers; batches of many lengths have many thousands

_Buffer = tuple[str, torch.dtype]


class Scratch:
    """Buffers by name, as large as the largest request so far; what they hold is left over."""

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._flat: dict[_Buffer, Tensor] = {}
        self._views: dict[tuple[_Buffer, tuple[int, ...]], Tensor] = {}

    def __call__(self, name: str, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """A contiguous tensor of that shape, valid until name and dtype are used again."""
        buffer = name, dtype or self._like.dtype
        view = self._views.get((buffer, shape))
        if view is None:
            size = math.prod(shape)
            if buffer not in self._flat or self._flat[buffer].numel() < size:
                self._flat[buffer] = self._like.new_empty(size, dtype=buffer[1])
                self._views = {key: x for key, x in self._views.items() if key[0] != buffer}
            if len(self._views) >= VIEWS:
                self._views.clear()
            view = self._views[buffer, shape] = self._flat[buffer][:size].view(shape)
        return view

    @classmethod
    def borrow(cls, like: Tensor) -> "Scratch":
        """The one that this thread's last call gave back, or a new one."""
        new = cls(like.new_empty(0))
        return _idle.scratches.pop(new._kind, new)

    def give_back(self) -> None:
        """Leave it to the thread's next call, unless it grew beyond what most calls need."""
        size = sum(flat.numel() for flat in self._flat.values())
        plain = all(type(x) is Tensor for x in (self._like, *self._flat.values()))
        if plain and size <= KEPT:  # plain: not what a tracer made
            _idle.scratches[self._kind] = self

    @property
    def _kind(self) -> tuple[torch.dtype, bool]:
        """Tensors of inference mode cannot be written to outside it."""
        return self._like.dtype, self._like.is_inference()


class _Idle(threading.local):
    def __init__(self) -> None:
        self.scratches: dict[tuple[torch.dtype, bool], Scratch] = {}


_idle = _Idle()
