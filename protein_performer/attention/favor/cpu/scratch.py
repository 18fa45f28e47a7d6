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


class Scratch:
    """Buffers by name, as large as the largest request so far; what they hold is left over."""

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._flat: dict[str, Tensor] = {}
        self._views: dict[tuple[str, tuple[int, ...]], Tensor] = {}

    def __call__(self, name: str, *shape: int) -> Tensor:
        """A contiguous tensor of that shape, valid until the name is used again."""
        view = self._views.get((name, shape))
        if view is None:
            size = math.prod(shape)
            if name not in self._flat or self._flat[name].numel() < size:
                self._flat[name] = self._like.new_empty(size)
                self._views = {key: x for key, x in self._views.items() if key[0] != name}
            if len(self._views) >= VIEWS:
                self._views.clear()
            view = self._views[name, shape] = self._flat[name][:size].view(shape)
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
