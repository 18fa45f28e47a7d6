"""How a model knows where a residue stands: rotary, learned, sinusoidal, or not at all.

Shapes: B batch, H heads, L positions, D head width, E model width.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from protein_performer.errors import UserError
from protein_performer.model.config import TrunkConfig


def token_positions(
    length: int, mask: Tensor | None, device: torch.device, before: Tensor | None = None
) -> Tensor:
    """(1, L) or (B, L) int64 positions, 0 at the first token of each row.

    Counted over tokens rather than columns, so that padding moves nothing.

    Args:
        length: L.
        mask: (B, L) bool, False at padding.
        device: of the result.
        before: (B,) how many tokens each row has had in earlier steps; None for none.
    """
    if mask is None:
        positions = torch.arange(length, device=device)[None]
    else:
        positions = mask.long().cumsum(-1) - 1
    return (positions if before is None else positions + before[:, None]).clamp_min(0)


class Frequencies(nn.Module):
    """Angles that grow with the position, at D/2 speeds from 1 to 1/base, geometrically.

    They stay in float32 at least, whatever the model is cast to: in bfloat16, with its 8 bits,
    positions 256 and 257 are the same one.
    """

    frequencies: Tensor

    def __init__(self, width: int, base: float) -> None:
        super().__init__()
        self.width, self.base = width, base
        # A function of the config alone: not part of the state dict.
        empty = torch.empty(width // 2, dtype=torch.float32)
        self.register_buffer("frequencies", empty, persistent=False)
        self.reset_()

    @torch.no_grad()
    def reset_(self) -> None:
        """Compute them again, for loaders that leave unset what no file holds."""
        exponents = torch.arange(0, self.width, 2, dtype=torch.float64, device="cpu") / self.width
        self.frequencies.copy_(self.base**-exponents)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        before = self.frequencies
        moved = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.frequencies.dtype.itemsize < before.dtype.itemsize:
            self.frequencies = before.to(self.frequencies.device, torch.float32)
        return moved

    def angles(self, positions: Tensor) -> Tensor:
        """(...,) positions to (..., D/2) angles in radians."""
        return positions[..., None].float() * self.frequencies


class RotaryPositions(Frequencies):
    """Turns each pair of query or key coordinates by an angle that grows with the position.

    Source: Su et al. 2021, arXiv:2104.09864, section 3.2.2, in the half-split pairing: coordinate i
    is paired with i + D/2. Applied before the feature map, so FAVOR+ still estimates the rotary
    softmax kernel without bias.
    """

    def __init__(self, head_dim: int, base: float = 10_000.0) -> None:
        if head_dim % 2:
            raise UserError(
                f"rotary positions turn pairs of coordinates, so the head width must be even; got"
                f" head_dim={head_dim}. Choose d_model / num_heads even, or positions=sinusoidal."
            )
        super().__init__(head_dim, base)

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L) positions to cosines and sines, (B, 1, L, D/2) float32 each."""
        angles = self.angles(positions[:, None])
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
        size = self.table.num_embeddings
        # A compiled model is not stopped to look: a position beyond is then an index error.
        if not torch.compiler.is_compiling() and positions.numel() and int(positions.max()) >= size:
            raise UserError(
                f"positions=learned holds {size} positions, the input has"
                f" {int(positions.max()) + 1} tokens. Crop the proteins (data.max_length), train"
                " with a larger model.max_length, or use positions=rotary, which has no limit."
            )
        vectors: Tensor = self.table(positions)
        return vectors


class SinusoidalPositions(Frequencies):
    """Fixed sines and cosines, added to the token embedding; any length.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.5; the sines stand in the first half of
    the coordinates and the cosines in the second, instead of alternating (a permutation that the
    next linear layer absorbs). Scaled by `scale`, since token embeddings here start at std 0.02.
    """

    def __init__(self, width: int, base: float = 10_000.0, scale: float = 0.02) -> None:
        if width % 2:
            raise UserError(f"positions=sinusoidal needs an even d_model, got {width}")
        super().__init__(width, base)
        self.scale = scale

    def forward(self, positions: Tensor) -> Tensor:
        """(B, L) positions to (B, L, E) vectors."""
        angles = self.angles(positions)
        return torch.cat((angles.sin(), angles.cos()), dim=-1) * self.scale


def added_positions(trunk: TrunkConfig) -> LearnedPositions | SinusoidalPositions | None:
    """The positions that are added to embeddings, if the trunk has such."""
    if trunk.max_length is not None:
        return LearnedPositions(trunk.d_model, trunk.max_length)
    return SinusoidalPositions(trunk.d_model) if trunk.positions == "sinusoidal" else None
