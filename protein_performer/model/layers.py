"""What a model is a stack of: attention between its projections, an MLP, and the block of both.

Each computes whole sequences (`forward`), or goes on from a state (`step`), where its mechanism can
(`attention.protocol.Steps`); the two give the same.

Shapes: B batch, H heads, L positions, T positions of a step, D head width, E model width.
"""

from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from protein_performer.attention.protocol import LayerSpec, MakeAttention, stepping
from protein_performer.model.config import TrunkConfig
from protein_performer.model.convolution import ShortConvolution
from protein_performer.model.positions import rotate

Rotation = tuple[Tensor, Tensor]


class AttentionLayer(nn.Module):
    """Projections around a mechanism: (B, L, E) to (B, L, E).

    A mechanism that says `shared_query_key = True` (Reformer) is given its queries as keys.

    Args:
        width: E.
        spec: where the mechanism stands.
        make_attention: makes it.
        bias: of all projections; without, as in the authors' protein models.
    """

    def __init__(
        self, width: int, spec: LayerSpec, make_attention: MakeAttention, bias: bool = False
    ) -> None:
        super().__init__()
        self.num_heads = spec.num_heads
        self.mechanism = make_attention(spec)
        self.num_projections = 2 if getattr(self.mechanism, "shared_query_key", False) else 3
        self.inputs = nn.Linear(width, self.num_projections * width, bias=bias)
        self.output = nn.Linear(width, width, bias=bias)

    def forward(self, x: Tensor, mask: Tensor | None, rotation: Rotation | None) -> Tensor:
        """(B, L, E) to (B, L, E); mask (B, L) bool; rotation from `RotaryPositions`."""
        q, k, v = self._project(x, rotation)
        return self._merge(self.mechanism(q, k, v, key_mask=mask))

    def step(
        self, x: Tensor, mask: Tensor | None, rotation: Rotation | None, state: Any
    ) -> tuple[Tensor, Any]:
        """(B, T, E) to (B, T, E), and the mechanism's state after these positions."""
        q, k, v = self._project(x, rotation)
        mixed, state = stepping(self.mechanism).step(q, k, v, state, key_mask=mask)
        return self._merge(mixed), state

    def _project(self, x: Tensor, rotation: Rotation | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, (B, H, L, D) each."""
        heads = self.inputs(x).unflatten(-1, (self.num_projections, self.num_heads, -1))
        projections = heads.permute(2, 0, 3, 1, 4).unbind(0)
        q, v = projections[0], projections[-1]
        if rotation is not None:
            q = rotate(q, *rotation)
        k = q
        if self.num_projections == 3:
            k = projections[1] if rotation is None else rotate(projections[1], *rotation)
        return q, k, v

    def _merge(self, mixed: Tensor) -> Tensor:
        output: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return output


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, trunk: TrunkConfig) -> None:
        super().__init__()
        self.approximate = "tanh" if trunk.activation == "gelu_tanh" else "none"
        self.inputs = nn.Linear(trunk.d_model, trunk.d_ff)
        self.dropout = nn.Dropout(trunk.dropout)
        self.output = nn.Linear(trunk.d_ff, trunk.d_model)

    def forward(self, x: Tensor) -> Tensor:
        """(..., E) to (..., E)."""
        inner = F.gelu(self.inputs(x), approximate=self.approximate)
        output: Tensor = self.output(self.dropout(inner))
        return output


class BlockState(NamedTuple):
    """What one block knows of the positions so far.

    Attributes:
        convolution: see `ShortConvolution`; None without one.
        attention: a NamedTuple of the mechanism's; see `attention.protocol.Steps`.
    """

    convolution: Tensor | None
    attention: Any


class Block(nn.Module):
    """x + attention(LN(x)), then x + mlp(LN(x)); dropout before each sum."""

    def __init__(self, trunk: TrunkConfig, spec: LayerSpec, make_attention: MakeAttention) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(trunk.d_model, eps=trunk.norm_epsilon)
        self.convolution = (
            None
            if trunk.convolution is None
            else ShortConvolution(trunk.d_model, trunk.convolution, trunk.causal)
        )
        self.attention = AttentionLayer(trunk.d_model, spec, make_attention, trunk.bias)
        self.mlp_norm = nn.LayerNorm(trunk.d_model, eps=trunk.norm_epsilon)
        self.mlp = FeedForward(trunk)
        self.dropout = nn.Dropout(trunk.dropout)

    def forward(self, x: Tensor, mask: Tensor | None, rotation: Rotation | None) -> Tensor:
        """(B, L, E) to (B, L, E); see `AttentionLayer`."""
        x = x + self.attend(x, mask, rotation)
        return x + self.feed_forward(x)

    def attend(self, x: Tensor, mask: Tensor | None, rotation: Rotation | None) -> Tensor:
        """What attention adds to the residual stream."""
        normed = self.attention_norm(x)
        if self.convolution is not None:
            normed = self.convolution(normed, mask)
        added: Tensor = self.dropout(self.attention(normed, mask, rotation))
        return added

    def attend_step(
        self, x: Tensor, mask: Tensor | None, rotation: Rotation | None, state: BlockState
    ) -> tuple[Tensor, BlockState]:
        """What attention adds at (B, T, E) next positions, and the state after them."""
        normed, convolved = self.attention_norm(x), state.convolution
        if self.convolution is not None and convolved is not None:
            normed, convolved = self.convolution.step(normed, mask, convolved)
        added, attended = self.attention.step(normed, mask, rotation, state.attention)
        return self.dropout(added), BlockState(convolved, attended)

    def feed_forward(self, x: Tensor) -> Tensor:
        """What the MLP adds to the residual stream."""
        added: Tensor = self.dropout(self.mlp(self.mlp_norm(x)))
        return added

    def init_state(self, batch_size: int) -> BlockState:
        """The state before the first position.

        Raises: UserError, by the mechanism's name, if it cannot go on from a state.
        """
        like = self.attention.inputs.weight
        attention = stepping(self.attention.mechanism).init_state(
            batch_size, device=like.device, dtype=like.dtype
        )
        if self.convolution is None:
            return BlockState(None, attention)
        return BlockState(self.convolution.init_state(batch_size), attention)
