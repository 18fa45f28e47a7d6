"""Some heads look at near neighbours exactly, the others at the whole sequence by FAVOR+.

Linear attention is smooth: it cannot single out one position among many. Most of what a protein's
residues say about each other is near, where exact attention is cheap. So the heads share the work.

Shapes: B batch, H heads, L positions, T positions of a step, D head width, W window, M features,
E = D + 1.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from protein_performer.attention.favor.favor import Favor
from protein_performer.attention.favor.scan import State as Sums
from protein_performer.attention.mechanism import Mechanism
from protein_performer.attention.protocol import LayerSpec
from protein_performer.attention.sliding_window import SlidingWindow
from protein_performer.attention.sliding_window import State as Window
from protein_performer.errors import UserError


class State(NamedTuple):
    """The near tokens of the local heads, and the sums of the global ones."""

    keys: Tensor  # (B, local heads, W, D)
    values: Tensor  # (B, local heads, W, D)
    mask: Tensor  # (B, W) bool
    sums: Tensor  # (B, global heads, E, M)
    peak: Tensor  # (B, global heads, 1, M or 1)


class LocalGlobal(Mechanism):
    """The first heads are `SlidingWindow`, the rest `Favor`: linear in the length, exactly causal.

    Differs from Zhu et al. 2021, arXiv:2107.02192 (Long-Short Transformer, section 3), who let each
    head attend to near keys and to a summary of all at once: heads of one kind each need no weights
    on a common scale, and cost what they cost alone.

    Args:
        spec: where the layer stands; of H heads.
        local_heads: how many look at near neighbours; null for half of them.
        window: of these, in tokens on either side.
        favor: options of the others, by their names in `Favor`.

    Raises: UserError for a number of heads that leaves none of either kind.
    """

    def __init__(
        self,
        spec: LayerSpec,
        *,
        local_heads: int | None = None,
        window: int = 64,
        favor: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        local = spec.num_heads // 2 if local_heads is None else local_heads
        if not 0 < local < spec.num_heads:
            raise UserError(
                f"attention.local_heads: expected 1 to {spec.num_heads - 1} of the"
                f" {spec.num_heads} heads, got {local}. model.num_heads=2 is the least."
            )
        self.spec = spec
        self.local_heads = local
        self.near = SlidingWindow(replace(spec, num_heads=local), window=window)
        self.far = Favor(replace(spec, num_heads=spec.num_heads - local), **(favor or {}))

    def redraw_(self, count: int) -> None:
        """Draw the features of the global heads again; see `protocol.Redraws`."""
        self.far.redraw_(count)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None) -> Tensor:
        """See `Mechanism`."""
        near, far = zip(*map(self._apart, (q, k, v)), strict=True)
        outs = self.near(*near, key_mask=key_mask), self.far(*far, key_mask=key_mask)
        return torch.cat(outs, dim=1)

    def init_state(
        self,
        batch_size: int,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> State:
        """No token yet; see `protocol.Steps`."""
        window = self.near.init_state(batch_size, device=device, dtype=dtype)
        sums = self.far.init_state(batch_size, device=device, dtype=dtype)
        return State(*window, *sums)

    def step(
        self, q: Tensor, k: Tensor, v: Tensor, state: State, *, key_mask: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Go on by T positions in time O(T W) and O(T M D); see `protocol.Steps`."""
        (q_near, q_far), (k_near, k_far), (v_near, v_far) = map(self._apart, (q, k, v))
        window, sums = Window(*state[:3]), Sums(*state[3:])
        near, window = self.near.step(q_near, k_near, v_near, window, key_mask=key_mask)
        far, sums = self.far.step(q_far, k_far, v_far, sums, key_mask=key_mask)
        return torch.cat([near, far], dim=1), State(*window, *sums)

    def _apart(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, L, D) -> that of the local heads, and that of the global ones."""
        return x[:, : self.local_heads], x[:, self.local_heads :]
