"""Reversible residual blocks: activations of one block are kept, whatever the depth.

Shapes: B batch, L positions, E model width.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Branch = Callable[[Tensor], Tensor]  # (B, L, E) -> (B, L, E)
RandomState = tuple[Tensor, Tensor | None]  # of the CPU, of the device


def reversible(
    blocks: Sequence[tuple[Branch, Branch]], x: Tensor, parameters: Iterable[nn.Parameter]
) -> Tensor:
    """Two streams that start as x: y1 = x1 + attention(x2), y2 = x2 + mlp(y1); their mean.

    The backward pass takes the blocks off again, x2 = y2 - mlp(y1), and computes each branch once
    more under the random state and the autocast of its first time. What it takes off is equal to
    rounding, not to the bit.

    Source: Kitaev et al. 2020, arXiv:2001.04451, section 3. The authors' code hands both streams
    to the head; their mean keeps the head, and so the number of weights, of the plain trunk.

    Args:
        blocks: (attention, mlp) of each block. They may draw from the global random streams and
            depend on tensors that need no gradient, and on no others but `parameters`.
        x: (B, L, E).
        parameters: of all branches; one that several share may be listed again.

    Returns: (B, L, E).
    """
    trained = dict.fromkeys(parameter for parameter in parameters if parameter.requires_grad)
    apply: Callable[..., tuple[Tensor, Tensor]] = _Reversible.apply
    first, second = apply(blocks, x, *trained)
    return (first + second) / 2


class _Reversible(torch.autograd.Function):
    """All blocks at once: between blocks nothing is left for autograd to keep."""

    @staticmethod
    def forward(
        ctx: Any, blocks: Sequence[tuple[Branch, Branch]], x: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        device = x.device.type
        ctx.blocks = blocks
        ctx.autocast = {
            "device_type": device,
            "enabled": torch.is_autocast_enabled(device),
            "dtype": torch.get_autocast_dtype(device),
        }
        ctx.random_states = []
        first = second = x
        for attention, mlp in blocks:
            ctx.random_states.append(_random_state(x.device))
            first = first + attention(second)
            ctx.random_states.append(_random_state(x.device))
            second = second + mlp(first)
        ctx.save_for_backward(first, second, *parameters)
        return first, second

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dfirst: Tensor, dsecond: Tensor) -> tuple[Tensor | None, ...]:
        first, second, *parameters = ctx.saved_tensors
        states = list(ctx.random_states)
        grads: list[Tensor | None] = [None] * len(parameters)

        def take_off(branch: Branch, source: Tensor, total: Tensor, dtotal: Tensor) -> Any:
            """Total - branch(source), and the gradient that the branch passes to its source."""
            with torch.autocast(**ctx.autocast), _replay(source.device, states.pop()):
                out, dsource, dparameters = _with_gradients(branch, source, dtotal, parameters)
            for i, grad in enumerate(dparameters):
                if grad is not None:
                    known = grads[i]
                    grads[i] = grad if known is None else known + grad
            return total - out, dsource

        for attention, mlp in reversed(ctx.blocks):
            second, passed = take_off(mlp, first, second, dsecond)
            dfirst = dfirst + passed
            first, passed = take_off(attention, second, first, dfirst)
            dsecond = dsecond + passed
        return None, dfirst + dsecond, *grads


def _with_gradients(
    branch: Branch, source: Tensor, upstream: Tensor, parameters: Sequence[Tensor]
) -> tuple[Tensor, Tensor, Sequence[Tensor | None]]:
    """branch(source) and the gradients of its source and of all parameters."""
    with torch.enable_grad():
        leaf = source.detach().requires_grad_()
        out = branch(leaf)
        grads = torch.autograd.grad(
            out, (leaf, *parameters), upstream.to(out.dtype), allow_unused=True
        )
    dsource = torch.zeros_like(source) if grads[0] is None else grads[0]
    return out.detach(), dsource, grads[1:]


def _random_state(device: torch.device) -> RandomState:
    """Of the streams that a branch on this device may draw from."""
    if device.type == "cpu":
        return torch.get_rng_state(), None
    return torch.get_rng_state(), torch.get_device_module(device).get_rng_state(device)


def _set_random_state(device: torch.device, state: RandomState) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.get_device_module(device).set_rng_state(state[1], device)


@contextmanager
def _replay(device: torch.device, state: RandomState) -> Iterator[None]:
    """Draw what was drawn from a state, then go on as if nothing had been drawn."""
    present = _random_state(device)
    _set_random_state(device, state)
    try:
        yield
    finally:
        _set_random_state(device, present)
