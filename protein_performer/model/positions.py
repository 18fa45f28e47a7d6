"""How a model knows where a residue stands: rotary, learned, sinusoidal, or not at all.

Shapes: B batch, H heads, L positions, D head width, E model width.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from protein_performer.errors import UserError

Positions = Literal["rotary", "learned", "sinusoidal", "none"]


def token_positions(length: int, mask: Tensor | None, device: torch.device) -> Tensor:
    """(1, L) or (B, L) int64 positions, 0 at the first token of each row.

    Counted over tokens rather than columns, so that padding on the left moves nothing.
    """
    if mask is None:
        return torch.arange(length, device=device)[None]
    return (mask.long().cumsum(-1) - 1).clamp_min(0)


class RotaryPositions(nn.Module):
    """Turns each pair of query or key coordinates by an angle that grows with the position.

    Source: Su et al. 2021, arXiv:2104.09864, section 3.2.2, in the half-split pairing: coordinate i
    is paired with i + D/2. Applied before the feature map, so FAVOR+ still estimates the rotary
    softmax kernel without bias.
    """

    frequencies: Tensor

    def __init__(self, head_dim: int, base: float = 10_000.0) -> None:
        super().__init__()
        if head_dim % 2:
            raise UserError(
                f"rotary positions turn pairs of coordinates, so the head width must be even; got"
                f" head_dim={head_dim}. Choose d_model / num_heads even, or positions=sinusoidal."
            )
        exponents = torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim
        # A function of the config alone: not part of the state dict.
        self.register_buffer("frequencies", (base**-exponents).float(), persistent=False)

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L) positions to cosines and sines, (B, 1, L, D/2) float32 each."""
        angles = positions[:, None, :, None].float() * self.frequencies
        return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn (B, H, L, D) queries or keys by the angles of `RotaryPositions`."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class LearnedPositions(nn.Module):
    """A vector for each position up to `max_length` tokens, added to the token embedding."""

    def __init__(self, width: int, max_length: int) -> None:
        super().__init__()
        self.table = nn.Embedding(max_length, width)
        nn.init.normal_(self.table.weight, std=0.02)

    def forward(self, positions: Tensor) -> Tensor:
        """(B, L) positions to (B, L, E) vectors. Raises UserError beyond the table."""
        if positions.shape[-1] > self.table.num_embeddings:
            raise UserError(
                f"positions=learned holds {self.table.num_embeddings} positions, the input has"
                f" {positions.shape[-1]} tokens. Crop the proteins (data.max_length), train with a"
                " larger model.max_length, or use positions=rotary, which has no limit."
            )
        vectors: Tensor = self.table(positions)
        return vectors


class SinusoidalPositions(nn.Module):
    """Fixed sines and cosines, added to the token embedding; any length.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.5; the sines stand in the first half of
    the coordinates and the cosines in the second, instead of alternating (a permutation that the
    next linear layer absorbs). Scaled by `scale`, since token embeddings here start at std 0.02.
    """

    frequencies: Tensor

    def __init__(self, width: int, base: float = 10_000.0, scale: float = 0.02) -> None:
        super().__init__()
        if width % 2:
            raise UserError(f"positions=sinusoidal needs an even d_model, got {width}")
        exponents = torch.arange(0, width, 2, dtype=torch.float64) / width
        self.scale = scale
        self.register_buffer("frequencies", (base**-exponents).float(), persistent=False)

    def forward(self, positions: Tensor) -> Tensor:
        """(B, L) positions to (B, L, E) vectors."""
        angles = positions[..., None].float() * self.frequencies
        return torch.cat((angles.sin(), angles.cos()), dim=-1) * self.scale


def added_positions(
    positions: Positions, width: int, max_length: int | None
) -> LearnedPositions | SinusoidalPositions | None:
    """The positions that are added to embeddings of this width, if that kind is.

    Raises: UserError for an unknown kind, or a max_length that does not go with the kind.
    """
    if (positions == "learned") != (max_length is not None):
        raise UserError(
            "model.max_length is the table size of positions=learned: set it with that kind and"
            f" leave it null with any other; got positions={positions}, max_length={max_length}"
        )
    if positions == "learned" and max_length is not None:
        return LearnedPositions(width, max_length)
    if positions == "sinusoidal":
        return SinusoidalPositions(width)
    if positions not in ("rotary", "none"):
        raise UserError(
            f"model.positions: expected rotary, learned, sinusoidal or none, got {positions!r}"
        )
    return None
