"""Linformer: softmax attention to K projections of the keys and values along the sequence.

Shapes: B batch, H heads, L positions, D head width, K virtual keys, N longest length in tokens.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from protein_performer.attention.favor.projections import stream
from protein_performer.attention.mechanism import Mechanism
from protein_performer.attention.padding import gather, tokens_first, zero_padding
from protein_performer.attention.protocol import LayerSpec
from protein_performer.errors import UserError

Sharing = Literal["none", "headwise", "key_value", "layerwise"]


class Linformer(Mechanism):
    """softmax(q (E k)^T / sqrt(D)) F v, with learned E and F of K x L each.

    Column r of E and F belongs to a row's token of rank r, wherever its padding stands; shorter
    rows use the first columns. Padding is zero before it is projected.

    Source: Wang et al. 2020, arXiv:2006.04768, equation 7. It has no causal form, since every
    virtual key mixes all positions, and no form for rows of more than N tokens.

    Args:
        spec: heads, width, direction (bidirectional).
        max_length: N, special tokens included.
        num_keys: K.
        sharing: which projections are one, each step including those before it (their section 4):
            `none`, an E and an F for each head; `headwise`, an E and an F for each layer;
            `key_value`, E = F; `layerwise`, the same E = F in all layers.
    """

    def __init__(
        self,
        spec: LayerSpec,
        *,
        max_length: int,
        num_keys: int = 256,
        sharing: Sharing = "layerwise",
    ) -> None:
        super().__init__()
        _check(spec, max_length, num_keys)
        self.max_length = max_length
        if sharing not in ("none", "headwise", "key_value", "layerwise"):
            raise UserError(
                "linformer: expected attention.sharing to be none, headwise, key_value or"
                f" layerwise, got {sharing!r}"
            )
        self.sharing = sharing
        heads = spec.num_heads if sharing == "none" else 1
        # (H or 1, N, K): E and F transposed, so that a shorter row's part is contiguous.
        self.key_projection = _initial(heads, max_length, num_keys)
        self.value_projection = None
        if sharing in ("none", "headwise"):
            self.value_projection = _initial(heads, max_length, num_keys)

    def share_(self, first: nn.Module) -> None:
        """Take the projection of the first layer, if layers share it."""
        if self.sharing == "layerwise":
            assert isinstance(first, Linformer)
            self.key_projection = first.key_projection

    def attend(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None) -> Tensor:
        """See `Mechanism`. Raises: UserError if a row has more than N tokens."""
        keys = self.key_projection
        values = keys if self.value_projection is None else self.value_projection
        return _attend(q, k, v, keys, values, key_mask)


class RandomLinformer(Mechanism):
    """Linformer with random projections E = delta R and F = e^-delta R, R of N(0, 1 / K) entries.

    Source: Wang et al. 2020, theorem 2, as the Performer paper's comparison has it: Choromanski et
    al. 2021, arXiv:2009.14794, appendix A.6, K = 600, delta = 1e-6, redrawn. The theorem speaks of
    sums of exponentials that are not normalised; the comparison does not say what it normalised
    by. Here it is Linformer's own softmax over virtual keys. (Attention to ones in place of values,
    which normalises softmax, may vanish here: the entries of F have both signs.)

    At this delta all logits are near zero, so the output is nearly the mean of F v, whatever the
    query: it is a baseline as published, not one to hope for.

    Args:
        spec: heads, width, direction (bidirectional), seed.
        max_length: N, special tokens included.
        num_keys: K.
        delta: of E and F.
    """

    projection: Tensor

    def __init__(
        self, spec: LayerSpec, *, max_length: int, num_keys: int = 600, delta: float = 1e-6
    ) -> None:
        super().__init__()
        _check(spec, max_length, num_keys)
        self.max_length = max_length
        self.spec = spec
        self.delta = delta
        self.register_buffer("projection", torch.empty(1, max_length, num_keys))
        self.redraw_(0)

    @torch.no_grad()
    def redraw_(self, count: int) -> None:
        """Draw projection number `count`, a function of (seed, layer, count)."""
        generator = stream(self.spec.seed, self.spec.layer, count)
        drawn = torch.randn(self.projection.shape, generator=generator, device="cpu")
        self.projection.copy_(drawn / math.sqrt(drawn.shape[-1]))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None) -> Tensor:
        """See `Mechanism`. Raises: UserError if a row has more than N tokens."""
        # The factors go to the small side: delta R would be lost in half precision.
        out = _attend(q * self.delta, k, v, self.projection, self.projection, key_mask)
        return out * math.exp(-self.delta)


def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    key_projection: Tensor,
    value_projection: Tensor,
    key_mask: Tensor | None,
) -> Tensor:
    """softmax(q (E k)^T / sqrt(D)) F v from E^T and F^T, (H or 1, N, K) each."""
    max_length = key_projection.shape[1]
    if key_mask is not None:
        order = tokens_first(key_mask)
        k, v = (gather(zero_padding(x, key_mask), order) for x in (k, v))
    if k.shape[2] > max_length:
        _check_tokens(k.shape[2] if key_mask is None else int(key_mask.sum(-1).max()), max_length)
        k, v = k[:, :, :max_length], v[:, :, :max_length]
    keys, values = _project(key_projection, k), _project(value_projection, v)
    return scaled_dot_product_attention(q, keys, values)


def _project(projection: Tensor, x: Tensor) -> Tensor:
    """(H or 1, N, K) and (B, H, L, D) -> (B, H, K, D)."""
    used = projection[:, : x.shape[2]].to(x.dtype)
    if used.shape[0] == 1:  # one matrix product for all heads
        return torch.einsum("lk,bhld->bhkd", used[0], x)
    return torch.einsum("hlk,bhld->bhkd", used, x)


def _initial(heads: int, max_length: int, num_keys: int) -> nn.Parameter:
    """N(0, 1 / K) entries, the distribution of the paper's theorems."""
    return nn.Parameter(torch.randn(heads, max_length, num_keys) / math.sqrt(num_keys))


def _check(spec: LayerSpec, max_length: int, num_keys: int) -> None:
    if spec.causal:
        raise UserError(
            "linformer has no causal form: each of its virtual keys mixes all positions. Use"
            " objective=mlm or another model."
        )
    if min(max_length, num_keys) < 1:
        raise UserError(
            "linformer: expected attention.max_length and attention.num_keys of at least 1, got"
            f" {max_length} and {num_keys}"
        )


def _check_tokens(tokens: int, max_length: int) -> None:
    if tokens > max_length:
        raise UserError(
            f"linformer: expected at most attention.max_length={max_length} tokens, got {tokens}:"
            " its projections have a column for each. Raise it before training, or crop."
        )
