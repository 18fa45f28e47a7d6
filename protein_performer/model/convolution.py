"""Neighbours first: a short depthwise convolution in front of attention.

Shapes: B batch, L positions, E model width, W kernel width.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
        """(B, L, E) to (B, L, E); mask (B, L) bool, False at padding, which adds nothing."""
        if mask is not None:
            h = h * mask[..., None].to(h.dtype)
        length = h.shape[1]
        padded = F.pad(h, (0, 0, self.before, self.after))
        mixed = h
        for offset, weight in enumerate(self.weight):
            mixed = torch.addcmul(mixed, padded[:, offset : offset + length], weight)
        return mixed
