"""Attention that returns its values: the cost of everything but attention.

Shapes: B batch, H heads, L positions, D head width.
"""

import torch
from torch import Tensor

from protein_performer.attention.mechanism import Mechanism
from protein_performer.attention.protocol import LayerSpec, refuse_bidirectional


class Values(Mechanism):
    """out_i = v_i. No position sees another, in either direction.

    Source: Choromanski et al. 2021, arXiv:2009.14794, section 4.1, the line "X (OPT)": the speed
    and memory that no attention mechanism can beat.
    """

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        self.spec = spec

    def attend(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None) -> Tensor:
        """V itself; q and k are not read."""
        return v

    def init_state(
        self,
        batch_size: int,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> tuple[()]:
        """Nothing, see `protocol.Steps`."""
        refuse_bidirectional(self.spec)
        return ()

    def step(
        self, q: Tensor, k: Tensor, v: Tensor, state: tuple[()], *, key_mask: Tensor | None = None
    ) -> tuple[Tensor, tuple[()]]:
        """(B, H, T, D) each -> (B, H, T, D); see `protocol.Steps`."""
        return self(q, k, v, key_mask=key_mask), state
