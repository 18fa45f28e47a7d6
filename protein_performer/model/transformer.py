"""The trunk that every mechanism shares: embedding, positions, blocks, head.

Pre-LN blocks as in the Performer paper's protein models: x + attention(LN(x)), x + mlp(LN(x)), a
final LN, then the head. What mixes positions is handed in (`attention.protocol`), so two models
that differ in their attention differ in nothing else.

Shapes: B batch, H heads, L positions, D head width, E model width, V vocabulary.
"""

import math
from functools import partial
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from protein_performer.attention.protocol import LayerSpec, MakeAttention, Redraws, SharesParameters
from protein_performer.errors import UserError
from protein_performer.model.convolution import ShortConvolution
from protein_performer.model.positions import (
    Positions,
    RotaryPositions,
    added_positions,
    rotate,
    token_positions,
)
from protein_performer.model.reversible import reversible

Residual = Literal["plain", "reversible"]
Rotation = tuple[Tensor, Tensor]


class AttentionLayer(nn.Module):
    """Projections around a mechanism: (B, L, E) to (B, L, E).

    Without biases, as in the authors' protein models. A mechanism that says
    `shared_query_key = True` (Reformer) is given its queries as keys.
    """

    def __init__(self, width: int, spec: LayerSpec, make_attention: MakeAttention) -> None:
        super().__init__()
        self.num_heads = spec.num_heads
        self.mechanism = make_attention(spec)
        self.num_projections = 2 if getattr(self.mechanism, "shared_query_key", False) else 3
        self.inputs = nn.Linear(width, self.num_projections * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None, rotation: Rotation | None) -> Tensor:
        """(B, L, E) to (B, L, E); mask (B, L) bool; rotation from `RotaryPositions`."""
        heads = self.inputs(x).unflatten(-1, (self.num_projections, self.num_heads, -1))
        projections = heads.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, H, L, D)
        q, v = projections[0], projections[-1]
        if rotation is not None:
            q = rotate(q, *rotation)
        k = q
        if self.num_projections == 3:
            k = projections[1] if rotation is None else rotate(projections[1], *rotation)
        mixed = self.mechanism(q, k, v, key_mask=mask)
        output: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return output


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int, hidden_width: int, dropout: float) -> None:
        super().__init__()
        self.inputs = nn.Linear(width, hidden_width)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden_width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., E) to (..., E)."""
        hidden = F.gelu(self.inputs(x), approximate="tanh")
        output: Tensor = self.output(self.dropout(hidden))
        return output


class Block(nn.Module):
    """x + attention(LN(x)), then x + mlp(LN(x)); dropout before each sum."""

    def __init__(
        self,
        width: int,
        hidden_width: int,
        dropout: float,
        convolution: int | None,
        spec: LayerSpec,
        make_attention: MakeAttention,
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.convolution = (
            None if convolution is None else ShortConvolution(width, convolution, spec.causal)
        )
        self.attention = AttentionLayer(width, spec, make_attention)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = FeedForward(width, hidden_width, dropout)
        self.dropout = nn.Dropout(dropout)

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

    def feed_forward(self, x: Tensor) -> Tensor:
        """What the MLP adds to the residual stream."""
        added: Tensor = self.dropout(self.mlp(self.mlp_norm(x)))
        return added


class ProteinTransformer(nn.Module):
    """Token codes to logits.

    Args:
        vocabulary_size: V.
        attention: makes the mechanism of one layer from its `LayerSpec`.
        d_model, num_layers, num_heads, d_ff: E, blocks, H, and the hidden width of the MLPs.
        causal: row i of the output depends on tokens 0..i only.
        positions: rotary turns queries and keys in each layer; learned and sinusoidal are added
            to the embedding; none leaves order to the causal mask, if anything.
        max_length: of the table of learned positions, in tokens; refused with any other kind.
        residual: plain, or reversible (two streams: `reversible.reversible`), which computes each
            block once more in the backward pass to keep the activations of one only.
        convolution: width of a short convolution in front of each attention; None for none, as in
            the paper.
        dropout: after the embedding, inside the MLP and before each residual sum. There is no
            dropout of attention weights: linear attention has no weights to drop, and mechanisms
            are compared on the same trunk.
        seed: of random features and hash rotations, not of the initial weights.
    """

    def __init__(
        self,
        vocabulary_size: int,
        attention: MakeAttention,
        *,
        d_model: int,
        num_layers: int,
        num_heads: int,
        d_ff: int,
        causal: bool,
        positions: Positions = "rotary",
        max_length: int | None = None,
        residual: Residual = "plain",
        convolution: int | None = None,
        dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if d_model % num_heads:
            raise UserError(
                f"model: d_model must be divisible by num_heads; got d_model={d_model},"
                f" num_heads={num_heads}"
            )
        if residual not in ("plain", "reversible"):
            raise UserError(f"model.residual: expected plain or reversible, got {residual!r}")
        self.causal = causal
        self.residual = residual
        self.embedding = nn.Embedding(vocabulary_size, d_model)
        head_dim = d_model // num_heads
        self.rotary = RotaryPositions(head_dim) if positions == "rotary" else None
        self.added_positions = added_positions(positions, d_model, max_length)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(
                d_model,
                d_ff,
                dropout,
                convolution,
                LayerSpec(num_heads, head_dim, causal, layer=layer, seed=seed),
                attention,
            )
            for layer in range(num_layers)
        )
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocabulary_size)
        self._initialise(num_layers)
        _share_across_layers(self.mechanisms)

    @property
    def mechanisms(self) -> list[nn.Module]:
        """The attention mechanism of each layer, first layer first."""
        return [block.attention.mechanism for block in self._blocks()]

    def _blocks(self) -> list[Block]:
        return [cast(Block, block) for block in self.blocks]

    def hidden(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """The last hidden states, after the final LN.

        Args:
            tokens: (B, L) int64 codes.
            mask: (B, L) bool, True at tokens, False at padding; None says no padding.

        Returns: (B, L, E); what stands at padding is unspecified, but finite.
        """
        where = token_positions(tokens.shape[-1], mask, tokens.device)
        x = self.embedding(tokens)
        if self.added_positions is not None:
            x = x + self.added_positions(where)
        rotation = self.rotary(where) if self.rotary is not None else None
        x = self.dropout(x)
        if self.residual == "reversible":
            branches = [
                (partial(block.attend, mask=mask, rotation=rotation), block.feed_forward)
                for block in self._blocks()
            ]
            x = reversible(branches, x, self.blocks.parameters())
        else:
            for block in self.blocks:
                x = block(x, mask, rotation)
        states: Tensor = self.norm(x)
        return states

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, L) codes to (B, L, V) logits; see `hidden`."""
        logits: Tensor = self.head(self.hidden(tokens, mask))
        return logits

    def redraw_(self, count: int) -> None:
        """Give every mechanism that draws random features or hashes its draw number `count`."""
        for mechanism in self.mechanisms:
            if isinstance(mechanism, Redraws):
                mechanism.redraw_(count)

    @torch.no_grad()
    def _initialise(self, num_layers: int) -> None:
        """Normal weights of std sqrt(2 / 5E), of the residual branches' outputs less, by depth.

        Sources: Nguyen and Salazar 2019 (arXiv:1910.05895, SmallInit), and for the factor
        1/sqrt(2 layers) Radford et al. 2019 (GPT-2, section 2.3), whose constant 0.02 is meant for
        E = 768: at E = 128 it makes attention uniform and branches silent for hundreds of steps.
        The embedding, which a norm follows, and the head have 0.02. The mechanisms' own parameters
        are theirs.
        """
        width = self.embedding.embedding_dim
        std = math.sqrt(2 / (5 * width))
        nn.init.normal_(self.embedding.weight, std=0.02)
        for block in self._blocks():
            for linear in (block.attention.inputs, block.mlp.inputs):
                nn.init.normal_(linear.weight, std=std)
            for linear in (block.attention.output, block.mlp.output):
                nn.init.normal_(linear.weight, std=std / math.sqrt(2 * num_layers))
            for linear in (block.mlp.inputs, block.mlp.output):
                nn.init.zeros_(linear.bias)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)


def _share_across_layers(mechanisms: list[nn.Module]) -> None:
    """Let a mechanism that can use the first layer's parameters (layer-wise Linformer) do so."""
    for mechanism in mechanisms[1:]:
        if isinstance(mechanism, SharesParameters):
            mechanism.share_(mechanisms[0])
