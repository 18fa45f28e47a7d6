"""Exact softmax attention to near neighbours: a cheap strong baseline, linear in the length.

Shapes: B batch, H heads, L positions, D head width, W window, N blocks of W positions.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from protein_performer.attention.mechanism import Mechanism, check_shapes
from protein_performer.attention.padding import gather, tokens_first, ungather, zero_padding
from protein_performer.attention.protocol import LayerSpec, refuse_bidirectional
from protein_performer.errors import UserError


class State(NamedTuple):
    """The last W tokens, at the right end: what the next position sees beside itself."""

    keys: Tensor  # (B, H, W, D)
    values: Tensor  # (B, H, W, D)
    mask: Tensor  # (B, W) bool, False where a row has had fewer tokens


class SlidingWindow(Mechanism):
    """Softmax attention of token i to the tokens j with |i - j| <= W; causal: i - W <= j <= i.

    Distances count tokens, so padding inside a row is as if it were cut out.

    Source: Beltagy et al. 2020, arXiv:2004.05150 (Longformer), section 3.1, without dilation and
    global tokens. W here is one side's reach; theirs is both sides together.

    Args:
        spec: heads, width, direction.
        window: W, at least 1.
    """

    def __init__(self, spec: LayerSpec, *, window: int = 128) -> None:
        super().__init__()
        if window < 1:
            raise UserError(f"sliding window: expected attention.window >= 1, got {window}")
        self.spec = spec
        self.causal = spec.causal
        self.window = window

    def attend(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None) -> Tensor:
        """See `Mechanism`."""
        if key_mask is None:
            return self._in_blocks(q, k, v, None)
        order = tokens_first(key_mask)
        num_tokens = key_mask.sum(-1)
        moved = self._in_blocks(gather(q, order), gather(k, order), gather(v, order), num_tokens)
        return ungather(moved, order)

    def init_state(
        self,
        batch_size: int,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> State:
        """No token yet; see `protocol.Steps`."""
        refuse_bidirectional(self.spec)
        shape = (batch_size, self.spec.num_heads, self.window, self.spec.head_dim)
        nothing = torch.zeros(shape, device=device, dtype=dtype)
        mask = torch.zeros(batch_size, self.window, device=device, dtype=torch.bool)
        return State(nothing, nothing, mask)

    def step(
        self, q: Tensor, k: Tensor, v: Tensor, state: State, *, key_mask: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Go on by T positions in time O(T W), with a state of W tokens; see `protocol.Steps`."""
        check_shapes(q, k, v, key_mask)
        mask = state.mask.new_ones(len(q), q.shape[2]) if key_mask is None else key_mask
        outs = []
        for first in range(0, q.shape[2], self.window):
            at = slice(first, first + self.window)
            some = q[:, :, at], k[:, :, at], v[:, :, at]
            out, state = self._step(*some, mask[:, at], state)
            outs.append(out)
        return zero_padding(torch.cat(outs, dim=2), key_mask).to(v.dtype), state

    def _step(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, state: State
    ) -> tuple[Tensor, State]:
        """At most W positions."""
        keys = torch.cat([state.keys.to(k.dtype), k], dim=2)
        values = torch.cat([state.values.to(v.dtype), v], dim=2)
        mask = torch.cat([state.mask, mask], dim=1)
        rank = mask.cumsum(-1)
        distance = rank[:, self.window :, None] - rank[:, None, :]
        # Later tokens are at a negative distance; padding has that of a token, and is cut out.
        visible = (distance >= 0) & (distance <= self.window) & mask[:, None]
        visible = visible | ~visible.any(-1, keepdim=True)  # at padding: dropped later
        out = scaled_dot_product_attention(q, keys, values, attn_mask=visible[:, None])
        order = tokens_first(~mask)[:, -self.window :]  # tokens last
        return out, State(gather(keys, order), gather(values, order), mask.gather(1, order))

    def _in_blocks(self, q: Tensor, k: Tensor, v: Tensor, num_tokens: Tensor | None) -> Tensor:
        """Attention in blocks of W queries, which reach one block back and, unless causal, ahead.

        num_tokens: (B,) how many positions from the left are tokens; None says all.
        """
        batch, heads, length, _ = q.shape
        block = min(self.window, length)
        blocks = -(-length // block)
        q = pad(q, (0, 0, 0, blocks * block - length))
        queries = q.view(batch, heads, blocks, block, -1).transpose(1, 2).flatten(0, 1)
        keys, values = (self._with_neighbours(x, blocks, block) for x in (k, v))
        visible = self._visible(length, blocks, block, q.device, num_tokens)
        out = scaled_dot_product_attention(
            queries, keys, values, attn_mask=visible.expand(batch, -1, -1, -1, -1).flatten(0, 1)
        )
        return (
            out.view(batch, blocks, heads, block, -1).transpose(1, 2).flatten(2, 3)[:, :, :length]
        )

    def _with_neighbours(self, x: Tensor, blocks: int, block: int) -> Tensor:
        """(B, H, L, D) -> (B * N, H, 2W or 3W, D): each block with those that it reaches."""
        after = 0 if self.causal else block
        x = pad(x, (0, 0, block, blocks * block - x.shape[2] + after))
        windows = x.unfold(2, 2 * block + after, block)  # (B, H, N, D, 2W or 3W)
        return windows.permute(0, 2, 1, 4, 3).flatten(0, 1)

    def _visible(
        self, length: int, blocks: int, block: int, device: torch.device, num_tokens: Tensor | None
    ) -> Tensor:
        """(B or 1, N, 1, W, 2W or 3W) bool: what each query may see."""
        first = torch.arange(blocks, device=device)[:, None] * block
        i = first + torch.arange(block, device=device)
        j = first + torch.arange(-block, block if self.causal else 2 * block, device=device)
        i, j = i[:, :, None], j[:, None, :]
        near = (j <= i if self.causal else j <= i + self.window) & (j >= i - self.window) & (j >= 0)
        if num_tokens is None:
            visible = (near & (j < length))[None]
        else:
            visible = near & (j < num_tokens[:, None, None, None])
        # Beyond the last token a row may see nothing, 0 / 0: it sees all, and is dropped later.
        return (visible | ~visible.any(-1, keepdim=True))[:, :, None]
