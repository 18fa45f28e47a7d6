"""What an attention mechanism is: the contract between a mechanism and the trunk.

Shapes: B batch, H heads, L positions, D head width, M features, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor, nn


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


MakeAttention = Callable[[LayerSpec], nn.Module]
