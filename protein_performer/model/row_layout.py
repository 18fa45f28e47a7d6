"""How rows enter the trunk: tokens first, and in few lengths where each new one costs time.

Padding changes nothing in any mechanism, so there may be more of it.

Shapes: B batch, L positions, L' a multiple of `LENGTHS`.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from protein_performer.alphabet import Alphabet
from protein_performer.attention.padding import tokens_first

LENGTHS = 64


class RowLayout(NamedTuple):
    """Rows whose padding is on the right.

    Attributes:
        tokens: (B, L) or (B, L') codes.
        mask: (B, L) or (B, L') bool, or None for no padding.
        order: where each token stood; None if nothing was moved.
    """

    tokens: Tensor
    mask: Tensor | None
    order: Tensor | None

    def restore(self, x: Tensor) -> Tensor:
        """(B, L', F) of the rows as they are here, back where their tokens stood."""
        if self.order is None:
            return x
        return torch.empty_like(x).scatter(1, self.order[..., None].expand_as(x), x)


def lay_out(tokens: Tensor, mask: Tensor | None, *, few_lengths: bool = False) -> RowLayout:
    """Move tokens to the left; with `few_lengths` first pad to a multiple of `LENGTHS`."""
    missing = -tokens.shape[-1] % LENGTHS if few_lengths else 0
    if missing and mask is None:
        mask = torch.ones_like(tokens, dtype=torch.bool)
    if missing and mask is not None:
        tokens = F.pad(tokens, (0, missing), value=Alphabet.pad)
        mask = F.pad(mask, (0, missing))
    if mask is None:
        return RowLayout(tokens, None, None)
    order = tokens_first(mask)
    return RowLayout(tokens.gather(1, order), mask.gather(1, order), order)


def cut(x: Tensor, length: int) -> Tensor:
    """(B, L', *) -> (B, L, *); x itself, without a pass of its gradient, if nothing is cut."""
    return x if x.shape[1] == length else x[:, :length]
