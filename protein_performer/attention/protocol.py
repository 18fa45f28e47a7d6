"""What an attention mechanism is: the contract between a mechanism and the trunk.

Shapes: B batch, H heads, L positions, D head width, M features, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from protein_performer.errors import UserError


@dataclass(frozen=True)
class LayerSpec:
    """Where a mechanism stands: what the trunk tells each of its attention layers.

    Attributes:
        num_heads: H.
        head_dim: D.
        causal: position i sees positions j <= i only; otherwise all.
        layer: index of the block, 0 first; layers draw different random features.
        seed: of everything that the mechanism draws at random besides its initial weights.
    """

    num_heads: int
    head_dim: int
    causal: bool
    layer: int = 0
    seed: int = 0


class Attention(Protocol):
    """Mixes values along the sequence.

    Every mechanism is an `nn.Module` whose constructor takes a `LayerSpec` and its own options, and
    refuses (UserError) what it cannot honour. It holds to this for each row of the batch:

    - padding changes nothing: positions where `key_mask` is False are in no sum, no maximum and no
      normaliser, and the outputs there are zeros;
    - batch mates change nothing;
    - a causal mechanism lets nothing of position j > i reach output i.
    """

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, key_mask: Tensor | None) -> Tensor:
        """Attend.

        Args:
            q, k: (B, H, L, D) queries and keys, rotary positions already applied.
            v: (B, H, L, D) values.
            key_mask: (B, L) bool, True at tokens, False at padding (on either side); None says
                that there is no padding.

        Returns: (B, H, L, D), of v's dtype.
        """
        ...


@runtime_checkable
class Redraws(Protocol):
    """A mechanism with random features or hashes that training draws anew from time to time."""

    def redraw_(self, count: int) -> None:
        """Take draw number `count`: a pure function of the spec's seed and layer, and of count.

        What is drawn stands in persistent buffers from construction on (draw 0).
        """
        ...


@runtime_checkable
class SharesParameters(Protocol):
    """A mechanism that can use the first layer's parameters in place of its own."""

    def share_(self, first: nn.Module) -> None:
        """Called once, right after construction, in every layer but the first."""
        ...


@runtime_checkable
class Steps(Protocol):
    """A causal mechanism that can go on from a state: what generation needs.

    A state is a NamedTuple of tensors whose first dimension is B, so that rows can be selected,
    repeated or moved. `step` returns a new one and leaves its argument as it was.
    """

    def init_state(
        self,
        batch_size: int,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> Any:
        """The state before the first position.

        Args:
            batch_size: B.
            device, dtype: of the q, k and v to come; None takes those of the mechanism's buffers,
                or torch's defaults.

        Raises: UserError from a bidirectional mechanism, which needs the whole sequence at once.
        """
        ...

    def step(
        self, q: Tensor, k: Tensor, v: Tensor, state: Any, *, key_mask: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """Go on by T positions, one or many.

        Args:
            q, k, v: (B, H, T, D) of the next positions.
            state: after all earlier positions: from `init_state` or the last `step`.
            key_mask: (B, T) bool, False at padding, which leaves the row's state as it is.

        Returns: (B, H, T, D), what a call on the whole sequence gives at these positions, and the
        state after them.
        """
        ...


def stepping(mechanism: nn.Module) -> Steps:
    """The mechanism itself. Raises: UserError, by its name, if it keeps no state."""
    if not isinstance(mechanism, Steps):
        raise UserError(
            f"{type(mechanism).__name__} cannot go on position by position: it keeps no state."
            " Generate with FAVOR+, exact softmax or a sliding window."
        )
    return mechanism


def selected(state: Any, rows: Tensor) -> Any:
    """A state of some of its rows.

    Args:
        state: nested tuples of tensors (B, ...), and None.
        rows: (N,) int64.
    """
    if isinstance(state, Tensor):
        return state.index_select(0, rows)
    if isinstance(state, tuple):
        parts = [selected(each, rows) for each in state]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    return state


def refuse_bidirectional(spec: LayerSpec) -> None:
    """Raise UserError if the layer is not causal: it has no state to go on from."""
    if not spec.causal:
        raise UserError("stepping: a bidirectional layer needs the whole sequence at once")


MakeAttention = Callable[[LayerSpec], nn.Module]
