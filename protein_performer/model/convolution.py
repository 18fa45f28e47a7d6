"""Neighbours first: a short depthwise convolution in front of attention.

Shapes: B batch, L positions, T positions of a step, E model width, W kernel width.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from protein_performer.errors import UserError


class ShortConvolution(nn.Module):
    """h_i + sum_o w_o * h_(i + o), one weight for each offset o and coordinate.

    Linear attention sees the composition of a protein at once and its neighbourhoods late: a smooth
    kernel takes long to tell position i - 1 from i - 5. Convolutions of a few positions mend that
    at E W multiplications a token (So et al. 2021, arXiv:2109.08668, section 3, there after the
    projections and causal; ours is before them, has the identity beside it, and looks both ways in
    a bidirectional model).

    Args:
        width: E.
        kernel: W positions: the token and those before it if causal, else as many on either side.
        causal: offsets o <= 0 only.
    """

    def __init__(self, width: int, kernel: int, causal: bool) -> None:
        super().__init__()
        if kernel < 2 or (not causal and kernel % 2 == 0):
            raise UserError(
                "model.convolution: expected null or a width of at least 2, odd in a bidirectional"
                f" model, got {kernel}"
            )
        self.before = kernel - 1 if causal else (kernel - 1) // 2
        self.after = kernel - 1 - self.before
        self.weight = nn.Parameter(torch.empty(kernel, width))
        nn.init.normal_(self.weight, std=0.3 / math.sqrt(kernel))

    def forward(self, h: Tensor, mask: Tensor | None) -> Tensor:
        """(B, L, E) to (B, L, E).

        Args:
            h: hidden states.
            mask: (B, L) bool, False at padding, which adds nothing; it stands before or behind a
                row's tokens, not among them.
        """
        h = _without_padding(h, mask)
        return self._convolve(h, F.pad(h, (0, 0, self.before, self.after)))

    def init_state(self, batch_size: int) -> Tensor:
        """(B, W - 1, E) zeros: the last tokens of each row, before there are any."""
        return self.weight.new_zeros(batch_size, self.before, self.weight.shape[1])

    def step(self, h: Tensor, mask: Tensor | None, state: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, E) to (B, T, E), and the state after these positions. Causal layers only.

        Args:
            h: hidden states at the next positions.
            mask: (B, T) bool, False at padding, which stands behind a row's tokens.
            state: from `init_state` or the last `step`; it is not changed.
        """
        known = torch.cat([state.to(h.dtype), _without_padding(h, mask)], dim=1)
        mixed = self._convolve(known[:, self.before :], known)
        if mask is None:
            return mixed, known[:, h.shape[1] :]
        last = torch.arange(self.before, device=h.device) + mask.sum(-1, keepdim=True)
        return mixed, known.gather(1, last[..., None].expand(-1, -1, h.shape[2]))

    def _convolve(self, h: Tensor, padded: Tensor) -> Tensor:
        """H and the weighted sum of its neighbours; padded (B, L + W - 1, E)."""
        dtype = torch.promote_types(h.dtype, self.weight.dtype)
        mixed: Tensor = _Neighbours.apply(  # type: ignore[no-untyped-call]
            h.to(dtype), padded.to(dtype), self.weight.to(dtype)
        )
        return mixed


class _Neighbours(torch.autograd.Function):
    """H plus weight_o * padded_(i + o): the sums in place, the backward pass too.

    Autograd of the same additions gives the same bits. It makes, for each offset, a whole gradient
    of `padded` that is zero but for a shift, and takes 2.5 times as long.
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor, padded: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(padded, weight)
        mixed = h.clone()
        for offset, factor in enumerate(weight):
            mixed.addcmul_(padded[:, offset : offset + h.shape[1]], factor)
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        padded, weight = ctx.saved_tensors
        of_padded, of_weight = torch.zeros_like(padded), torch.empty_like(weight)
        length = gradient.shape[1]
        for offset in reversed(range(len(weight))):
            of_padded[:, offset : offset + length] += gradient * weight[offset]
            products = gradient * padded[:, offset : offset + length]
            of_weight[offset] = products.sum((0, 1))
        return gradient, of_padded, of_weight


def _without_padding(h: Tensor, mask: Tensor | None) -> Tensor:
    return h if mask is None else h * mask[..., None].to(h.dtype)
