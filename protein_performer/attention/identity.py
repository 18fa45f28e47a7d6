"""Attention that returns its values: the cost of everything but attention.

Shapes: B batch, H heads, L positions, D head width.
"""

from torch import Tensor, nn

from protein_performer.attention.padding import zero_padding
from protein_performer.attention.protocol import LayerSpec


class Values(nn.Module):
    """out_i = v_i. No position sees another, in either direction.

    Source: Choromanski et al. 2021, arXiv:2009.14794, section 4.1, the line "X (OPT)": the speed
    and memory that no attention mechanism can beat.
    """

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, key_mask: Tensor | None) -> Tensor:
        """(B, H, L, D) each -> (B, H, L, D); q and k are not read."""
        return zero_padding(v, key_mask)
