"""From logits to a token: temperature, nucleus, and randomness that is each protein's own.

Shapes: B rows, V vocabulary.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from protein_performer.errors import UserError


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        temperature: divides the logits; 1 draws from the model's own distribution, 0 takes the
            likeliest token.
        top_p: the share of probability that is drawn from: the fewest tokens that hold it, the
            likeliest first (nucleus sampling: Holtzman et al. 2020, arXiv:1904.09751, section 3.1).
        seed: of all draws.

    Raises: UserError for values that mean nothing.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise UserError(f"temperature: expected a number from 0 on, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p: expected a share above 0, at most 1, got {self.top_p}")
        if self.seed < 0:
            raise UserError(f"seed: expected a number from 0 on, got {self.seed}")

    def draws(self, protein: int, number: int) -> NDArray[np.float64]:
        """(number,) uniform in [0, 1): a function of (seed, protein), whatever its batch mates."""
        return np.random.default_rng([self.seed, protein]).random(number)

    def choose(self, logits: Tensor, uniform: Tensor) -> Tensor:
        """Draw a token of each row.

        Args:
            logits: (B, V), -inf at tokens that may not be drawn.
            uniform: (B,) float64 in [0, 1).

        Returns: (B,) int64: the token at which the cumulated probability, the likeliest token
            first, passes the uniform number.
        """
        if self.temperature == 0:
            return logits.argmax(-1)
        p = torch.softmax(logits.double() / self.temperature, dim=-1)
        p, tokens = p.sort(dim=-1, descending=True, stable=True)
        before = p.cumsum(-1) - p
        p = p.masked_fill(before >= self.top_p, 0.0)
        total = p.cumsum(-1)
        # The last sum may round to less than the largest draw: never beyond the last token's.
        passed = total > uniform[:, None] * total[:, -1:]
        return tokens.gather(1, passed.int().argmax(-1, keepdim=True))[:, 0]
