"""Exact softmax attention: the yardstick, quadratic in the length.

Shapes: B batch, H heads, L positions, D head width.
"""

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from protein_performer.attention.padding import gather, tokens_first, ungather, zero_padding
from protein_performer.attention.protocol import LayerSpec


class Softmax(nn.Module):
    """softmax(q k^T / sqrt(D)) v over the tokens that each position may see.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1, through PyTorch's fused kernels,
    so memory is linear in L wherever those exist. Without dropout of attention weights, which the
    linear mechanisms could not match.
    """

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        self.causal = spec.causal

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, key_mask: Tensor | None) -> Tensor:
        """(B, H, L, D) each -> (B, H, L, D); see `protocol.Attention`."""
        if key_mask is None:
            return scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        if self.causal:
            return zero_padding(_causal(q, k, v, key_mask), key_mask)
        # A row without tokens would be 0 / 0; it sees its padding instead and is zeroed below.
        visible = key_mask | ~key_mask.any(-1, keepdim=True)
        out = scaled_dot_product_attention(q, k, v, attn_mask=visible[:, None, None, :])
        return zero_padding(out, key_mask)


def _causal(q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor) -> Tensor:
    """Causal attention of tokens to tokens; the outputs at padding are arbitrary but finite.

    A token never looks right, so padding there needs no mask. Fused kernels take a causal flag or
    a mask, and a mask of both kinds would be (B, L, L): the padding is moved instead.
    """
    order = tokens_first(key_mask)
    moved = scaled_dot_product_attention(
        gather(q, order), gather(k, order), gather(v, order), is_causal=True
    )
    return ungather(moved, order)
