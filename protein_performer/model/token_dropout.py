"""ESM-2's embedding of masked tokens: as if they were dropped.

Shapes: B batch, L positions, E model width.
"""

from torch import Tensor

from protein_performer.alphabet import Alphabet


def drop_masked(x: Tensor, tokens: Tensor, mask: Tensor | None, share: float) -> Tensor:
    """Embeddings with zeros at `<mask>`, the others scaled to the size they had in training.

    The factor is (1 - share) / (1 - the row's own share of masked tokens), special tokens counted.
    Source: the code of ESM-2 (Lin et al. 2022, doi:10.1101/2022.07.20.500902), where it is called
    token dropout; the share in its training was 0.15 * 0.8.

    Args:
        x: (B, L, E) embeddings.
        tokens: (B, L) codes.
        mask: (B, L) bool, False at padding; None for no padding.
        share: of masked tokens in training.
    """
    masked = tokens == Alphabet.mask
    lengths = tokens.shape[1] if mask is None else mask.sum(-1).clamp_min(1)
    seen = 1 - masked.sum(-1) / lengths
    factor = (1 - share) / seen.clamp_min(1 / tokens.shape[1])
    return x.masked_fill(masked[..., None], 0.0) * factor[:, None, None].to(x.dtype)
