"""The trunk that every mechanism shares: embedding, positions, blocks, head.

Pre-LN blocks as in the Performer paper's protein models: x + attention(LN(x)), x + mlp(LN(x)), a
final LN, then the head. What mixes positions is handed in (`attention.protocol`), so two models
that differ in their attention differ in nothing else.

Shapes: B batch, L positions, T positions of a step, E model width, V vocabulary, N scored
positions.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from protein_performer.attention.protocol import (
    LayerSpec,
    MakeAttention,
    Redraws,
    SharesParameters,
    Steps,
)
from protein_performer.batch import IGNORE, Batch
from protein_performer.errors import UserError
from protein_performer.model.config import TrunkConfig
from protein_performer.model.head import initialise_head, make_head
from protein_performer.model.layers import Block, BlockState, Rotation
from protein_performer.model.positions import RotaryPositions, added_positions, token_positions
from protein_performer.model.reversible import reversible
from protein_performer.model.row_layout import RowLayout, cut, lay_out
from protein_performer.model.token_dropout import drop_masked
from protein_performer.processor import compiles_each_shape


class ModelState(NamedTuple):
    """What a causal model knows of the tokens so far.

    Attributes:
        lengths: (B,) int64, tokens of each row.
        blocks: one of each block.
    """

    lengths: Tensor
    blocks: tuple[BlockState, ...]


class ProteinTransformer(nn.Module):
    """Token codes to logits.

    Args:
        vocabulary_size: V.
        attention: makes the mechanism of one layer from its `LayerSpec`.
        trunk: all else.
    """

    def __init__(self, vocabulary_size: int, attention: MakeAttention, trunk: TrunkConfig) -> None:
        super().__init__()
        self.trunk = trunk
        self.embedding = nn.Embedding(vocabulary_size, trunk.d_model)
        self.rotary = RotaryPositions(trunk.head_dim) if trunk.positions == "rotary" else None
        self.added_positions = added_positions(trunk)
        self.dropout = nn.Dropout(trunk.dropout)
        self.blocks = nn.ModuleList(
            Block(
                trunk,
                LayerSpec(
                    trunk.num_heads, trunk.head_dim, trunk.causal, layer=layer, seed=trunk.seed
                ),
                attention,
            )
            for layer in range(trunk.num_layers)
        )
        self.norm = nn.LayerNorm(trunk.d_model, eps=trunk.norm_epsilon)
        self.head = make_head(trunk.head, self.embedding, trunk.norm_epsilon)
        self._initialise()
        _share_across_layers(self.mechanisms)

    @property
    def causal(self) -> bool:
        """Row i of the output depends on tokens 0..i only."""
        return self.trunk.causal

    @property
    def width(self) -> int:
        """E."""
        return self.trunk.d_model

    @property
    def mechanisms(self) -> list[nn.Module]:
        """The attention mechanism of each layer, first layer first."""
        return [block.attention.mechanism for block in self._blocks()]

    @property
    def keeps_state(self) -> bool:
        """Whether it can `step`: it is causal, and every mechanism keeps a state."""
        return self.causal and all(isinstance(each, Steps) for each in self.mechanisms)

    def _blocks(self) -> list[Block]:
        return [cast(Block, block) for block in self.blocks]

    def hidden(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """The last hidden states, after the final LN.

        Args:
            tokens: (B, L) int64 codes.
            mask: (B, L) bool, True at tokens, False at padding, wherever it stands; None says no
                padding.

        Returns: (B, L, E); what stands at padding is unspecified, but finite.
        """
        return cut(self._states(tokens, mask), tokens.shape[-1])

    def _states(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """`hidden`, of rows that may be longer."""
        rows = self._laid_out(tokens, mask)
        return rows.restore(self._hidden(rows.tokens, rows.mask))

    def _laid_out(self, tokens: Tensor, mask: Tensor | None) -> RowLayout:
        bounded = [getattr(x, "max_length", None) for x in (self.trunk, *self.mechanisms)]
        few = not any(bounded) and compiles_each_shape(self.embedding.weight)
        return lay_out(tokens, mask, few_lengths=few)

    def _hidden(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """`hidden`, of rows whose padding is on the right."""
        positions = token_positions(tokens.shape[-1], mask, tokens.device)
        x, rotation = self._embed(tokens, positions, mask)
        if self.trunk.residual == "reversible":
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

    def hidden_layers(
        self, tokens: Tensor, mask: Tensor | None, layers: Sequence[int]
    ) -> list[Tensor]:
        """Hidden states of several layers.

        Args:
            tokens, mask: as of `hidden`.
            layers: 0 for what enters the first block, i for what leaves block i; the last one is
                `hidden`, after the final LN. Negative ones count from the end, as in Python.

        Returns: (B, L, E) for each; of a reversible trunk the mean of its two streams.
        Raises: UserError for a layer that there is not.
        """
        self.check_layers(layers)
        length = tokens.shape[-1]
        rows = self._laid_out(tokens, mask)
        tokens, mask = rows.tokens, rows.mask
        positions = token_positions(tokens.shape[-1], mask, tokens.device)
        x, rotation = self._embed(tokens, positions, mask)
        first = second = x
        states = [x]
        for block in self._blocks():
            first = first + block.attend(second, mask, rotation)
            if self.trunk.residual == "reversible":
                second = second + block.feed_forward(first)
            else:
                first = second = first + block.feed_forward(first)
            states.append((first + second) / 2)
        states[-1] = self.norm(states[-1])
        return [cut(rows.restore(states[layer]), length) for layer in layers]

    def check_layers(self, layers: Sequence[int]) -> None:
        """Raise UserError for a layer that there is not; see `hidden_layers`."""
        depth = len(self.blocks)
        for layer in layers:
            if not -depth - 1 <= layer <= depth:
                raise UserError(
                    f"layers: expected {-depth - 1} to {depth} of a model of {depth} blocks, got"
                    f" {layer}"
                )

    def _embed(
        self, tokens: Tensor, positions: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Rotation | None]:
        """What enters the first block, and what turns the queries and keys of all."""
        x = self.embedding(tokens)
        if self.trunk.token_dropout is not None:
            x = drop_masked(x, tokens, mask, self.trunk.token_dropout)
        if self.added_positions is not None:
            x = x + self.added_positions(positions).to(x.dtype)
        rotation = self.rotary(positions) if self.rotary is not None else None
        return self.dropout(x), rotation

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, L) codes to (B, L, V) logits; see `hidden`."""
        logits: Tensor = self.head(self._states(tokens, mask))
        return cut(logits, tokens.shape[-1])

    def scored_logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(N, V) logits and (N,) targets where there is a target; the rest is not computed.

        Beside the CPU, where all are computed, the targets of the rest being IGNORE: the host would
        wait there for the number of targets, longer than the small head takes at every position.
        """
        states = self._states(batch.inputs, batch.mask)
        if states.device.type != "cpu":
            return self.head(states).flatten(0, 1), batch.targets.flatten()
        scored = batch.targets != IGNORE
        if compiles_each_shape(self.embedding.weight):  # and every batch has another number
            return cut(self.head(states), scored.shape[-1])[scored], batch.targets[scored]
        return self.head(states[scored]), batch.targets[scored]

    def init_state(self, batch_size: int) -> ModelState:
        """The state of `step` before the first token, on the device and in the dtype of the model.

        Raises: UserError from a bidirectional model, and from a mechanism that keeps no state.
        """
        lengths = torch.zeros(batch_size, dtype=torch.int64, device=self.embedding.weight.device)
        return ModelState(lengths, tuple(b.init_state(batch_size) for b in self._blocks()))

    def step(
        self, tokens: Tensor, state: ModelState, mask: Tensor | None = None
    ) -> tuple[Tensor, ModelState]:
        """Go on by T tokens a row, one or many.

        Args:
            tokens: (B, T) int64 codes.
            state: after all earlier tokens; from `init_state` or the last `step`. It is not
                changed, so that several continuations may start from it.
            mask: (B, T) bool, False at padding, which leaves a row's state as it is.

        Returns: (B, T, V) logits, equal to those that `forward` gives at these positions of the
        whole sequences, and the state after them.
        """
        rows = lay_out(tokens, mask)
        tokens, mask = rows.tokens, rows.mask
        length = tokens.shape[1]
        positions = token_positions(length, mask, tokens.device, state.lengths)
        x, rotation = self._embed(tokens, positions, mask)
        x, blocks = self._step_blocks(x, mask, rotation, state.blocks)
        logits: Tensor = self.head(self.norm(x))
        added = length if mask is None else mask.sum(-1)
        return rows.restore(logits), ModelState(state.lengths + added, blocks)

    def _step_blocks(
        self,
        x: Tensor,
        mask: Tensor | None,
        rotation: Rotation | None,
        states: tuple[BlockState, ...],
    ) -> tuple[Tensor, tuple[BlockState, ...]]:
        """The blocks in turn; of a reversible trunk both streams (`reversible.reversible`)."""
        first = second = x
        after = []
        for block, state in zip(self._blocks(), states, strict=True):
            added, new_state = block.attend_step(second, mask, rotation, state)
            after.append(new_state)
            first = first + added
            if self.trunk.residual == "reversible":
                second = second + block.feed_forward(first)
            else:
                first = second = first + block.feed_forward(first)
        return (first + second) / 2, tuple(after)

    def redraw_(self, count: int) -> None:
        """Give every mechanism that draws random features or hashes its draw number `count`."""
        for mechanism in self.mechanisms:
            if isinstance(mechanism, Redraws):
                mechanism.redraw_(count)

    @torch.no_grad()
    def _initialise(self) -> None:
        """Normal weights of std sqrt(2 / 5E), of the residual branches' outputs less, by depth.

        Sources: Nguyen and Salazar 2019 (arXiv:1910.05895, SmallInit), and for the factor
        1/sqrt(2 layers) Radford et al. 2019 (GPT-2, section 2.3), whose constant 0.02 is meant for
        E = 768: at E = 128 it makes attention uniform and branches silent for hundreds of steps.
        The embedding, which a norm follows, and the head have 0.02. The mechanisms' own parameters
        are theirs.
        """
        std = math.sqrt(2 / (5 * self.width))
        nn.init.normal_(self.embedding.weight, std=0.02)
        for block in self._blocks():
            for linear in (block.attention.inputs, block.mlp.inputs):
                nn.init.normal_(linear.weight, std=std)
            for linear in (block.attention.output, block.mlp.output):
                nn.init.normal_(linear.weight, std=std / math.sqrt(2 * self.trunk.num_layers))
            for part in (block.attention, block.mlp):
                for linear in (part.inputs, part.output):
                    if linear.bias is not None:
                        nn.init.zeros_(linear.bias)
        initialise_head(self.head, std)


def _share_across_layers(mechanisms: list[nn.Module]) -> None:
    """Let a mechanism that can use the first layer's parameters (layer-wise Linformer) do so."""
    for mechanism in mechanisms[1:]:
        if isinstance(mechanism, SharesParameters):
            mechanism.share_(mechanisms[0])
