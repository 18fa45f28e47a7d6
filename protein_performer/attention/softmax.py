"""Exact softmax attention: the yardstick, quadratic in the length.

Shapes: B batch, H heads, L positions, D head width, P earlier positions.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from protein_performer.attention.mechanism import Mechanism, check_shapes
from protein_performer.attention.padding import gather, tokens_first, ungather, zero_padding
from protein_performer.attention.protocol import LayerSpec, refuse_bidirectional
from protein_performer.processor import has_bfloat16_tiles

_TILES_NEED = 64  # D from which the CPU's fused kernel, backward included, gains from them


class State(NamedTuple):
    """The keys and values of all earlier positions (a KV cache): it grows with the sequence."""

    keys: Tensor  # (B, H, P, D)
    values: Tensor  # (B, H, P, D)
    mask: Tensor  # (B, P) bool, True at tokens


class Softmax(Mechanism):
    """softmax(q k^T / sqrt(D)) v over the tokens that each position may see.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1, through PyTorch's fused kernels,
    so memory is linear in L wherever those exist. Without dropout of attention weights, which the
    linear mechanisms could not match.

    Under autocast, and with 16-bit inputs, a CPU computes in float32 where its fused kernel is
    faster so: without bfloat16 tiles everywhere, with them at heads narrower than 64, and in
    float16. Outputs have the dtype of v.
    """

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        self.spec = spec

    def attend(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None) -> Tensor:
        """See `Mechanism`."""
        if key_mask is None:
            return _attend(q, k, v, causal=self.spec.causal)
        if self.spec.causal:
            return _causal(q, k, v, key_mask)
        # A row without tokens would be 0 / 0; it sees its padding instead and is zeroed below.
        visible = key_mask | ~key_mask.any(-1, keepdim=True)
        return _attend(q, k, v, visible=visible[:, None, None, :])

    def init_state(
        self,
        batch_size: int,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> State:
        """An empty cache; see `protocol.Steps`."""
        refuse_bidirectional(self.spec)
        shape = (batch_size, self.spec.num_heads, 0, self.spec.head_dim)
        empty = torch.empty(shape, device=device, dtype=dtype)
        mask = torch.empty(batch_size, 0, device=device, dtype=torch.bool)
        return State(empty, empty, mask)

    def step(
        self, q: Tensor, k: Tensor, v: Tensor, state: State, *, key_mask: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Go on by T positions in time and memory O(T (P + T)); see `protocol.Steps`."""
        check_shapes(q, k, v, key_mask)
        new = q.shape[2]
        mask = state.mask.new_ones(len(q), new) if key_mask is None else key_mask
        after = State(
            torch.cat([state.keys.to(k.dtype), k], dim=2),
            torch.cat([state.values.to(v.dtype), v], dim=2),
            torch.cat([state.mask, mask], dim=1),
        )
        earlier = state.keys.shape[2]
        if earlier == 0:
            return self(q, k, v, key_mask=key_mask), after
        past = torch.ones(new, earlier + new, dtype=torch.bool, device=q.device).tril(earlier)
        visible = past & after.mask[:, None, None]
        # A row without tokens so far would be 0 / 0; it sees padding instead and is zeroed below.
        visible = visible | ~visible.any(-1, keepdim=True)
        out = _attend(q, after.keys, after.values, visible=visible)
        return zero_padding(out, key_mask).to(v.dtype), after


def _causal(q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor) -> Tensor:
    """Causal attention of tokens to tokens; the outputs at padding are arbitrary but finite.

    A token never looks right, so padding there needs no mask. Fused kernels take a causal flag or
    a mask, and a mask of both kinds would be (B, L, L): the padding is moved instead.
    """
    order = tokens_first(key_mask)
    moved = _attend(gather(q, order), gather(k, order), gather(v, order), causal=True)
    return ungather(moved, order)


def _attend(
    q: Tensor, k: Tensor, v: Tensor, *, visible: Tensor | None = None, causal: bool = False
) -> Tensor:
    """PyTorch's attention in the precision that suits the device; (B, H, L, D) in v's dtype."""
    device = q.device.type
    cast = torch.is_autocast_enabled(device) and v.dtype != torch.float64
    dtype = torch.get_autocast_dtype(device) if cast else v.dtype
    if dtype in (torch.bfloat16, torch.float16) and not _gains(dtype, q):
        dtype = torch.float32
    # Autocast would cast back whatever is cast here.
    with torch.autocast(device, enabled=False):
        q, k, value = q.to(dtype), k.to(dtype), v.to(dtype)
        out = scaled_dot_product_attention(q, k, value, attn_mask=visible, is_causal=causal)
        return out.to(v.dtype)


def _gains(dtype: torch.dtype, q: Tensor) -> bool:
    if q.device.type != "cpu":
        return True
    wide = q.shape[-1] >= _TILES_NEED
    return dtype == torch.bfloat16 and wide and has_bfloat16_tiles(q.device)
