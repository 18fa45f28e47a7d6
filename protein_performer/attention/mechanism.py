"""What all of our mechanisms do alike around their attention: it is said once, here.

Shapes: B batch, H heads, L positions, D head width.
"""

import torch
from torch import Tensor, nn

from protein_performer.attention.padding import zero_padding
from protein_performer.errors import UserError


class Mechanism(nn.Module):
    """Checks shapes, zeroes padding, and gives outputs the dtype of v, under autocast too."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, key_mask: Tensor | None) -> Tensor:
        """(B, H, L, D) each -> (B, H, L, D); see `protocol.Attention`.

        Raises: UserError for shapes that do not fit together.
        """
        check_shapes(q, k, v, key_mask)
        if v.numel() == 0:
            return v.clone()
        return zero_padding(self.attend(q, k, v, key_mask), key_mask).to(v.dtype)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None) -> Tensor:
        """As `forward`, of one position or more; at padding anything finite."""
        raise NotImplementedError


def check_shapes(q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None) -> None:
    """Raise UserError for what would broadcast, or be read beyond its end."""
    if q.dim() != 4 or v.dim() != 4 or k.shape != q.shape or v.shape[:3] != q.shape[:3]:
        raise UserError(
            "attention: expected q and k of one shape (batch, heads, length, width) and v of the"
            f" same batch, heads and length; got {(*q.shape,)}, {(*k.shape,)} and {(*v.shape,)}"
        )
    if key_mask is None:
        return
    expected = (q.shape[0], q.shape[2])
    if key_mask.shape != expected or key_mask.dtype != torch.bool:
        raise UserError(
            f"attention: expected key_mask to be bool of shape {expected}, batch and length of q;"
            f" got {key_mask.dtype} of shape {(*key_mask.shape,)}"
        )
