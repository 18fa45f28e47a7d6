"""Learning-rate schedules: optimizer step -> factor of the base rate.

Each is a function of the step alone, so that a resumed run continues exactly.
"""

import math
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from protein_performer.errors import UserError

Factor = Callable[[int], float]


def constant(*, warmup_steps: int = 0) -> Factor:
    """Linear warm-up to 1, then 1. Without warm-up: the paper's fixed rate (appendix B)."""

    def factor(step: int) -> float:
        return _warmup(step, warmup_steps)

    return factor


def inverse_sqrt(*, warmup_steps: int) -> Factor:
    """Linear warm-up to 1, then sqrt(warmup_steps / step) (Vaswani et al. 2017, section 5.3)."""
    if warmup_steps < 1:
        raise UserError(f"schedule.warmup_steps: expected at least 1, got {warmup_steps}")

    def factor(step: int) -> float:
        return min(_warmup(step, warmup_steps), math.sqrt(warmup_steps / max(step, 1)))

    return factor


def warmup_cosine(*, total_steps: int, warmup_share: float = 0.05, final: float = 0.0) -> Factor:
    """Linear warm-up over a share of the steps, then half a cosine down to `final`."""
    warmup_steps = _warmup_steps(warmup_share, total_steps)

    def factor(step: int) -> float:
        progress = min(max((step - warmup_steps) / (total_steps - warmup_steps), 0.0), 1.0)
        decay = final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))
        return _warmup(step, warmup_steps) * decay

    return factor


def trapezoid(
    *,
    total_steps: int,
    warmup_share: float = 0.05,
    decay_share: float = 0.3,
    final: float = 0.0,
) -> Factor:
    """Linear warm-up, flat at 1, then linear to `final` over the last `decay_share` of the steps.

    Source: Haegele et al. 2024, arXiv:2405.18392 (there: cooldown).
    """
    warmup_steps = _warmup_steps(warmup_share, total_steps)
    decay_steps = max(1, round(decay_share * total_steps))

    def factor(step: int) -> float:
        left = min(max((total_steps - step) / decay_steps, 0.0), 1.0)
        return _warmup(step, warmup_steps) * (final + (1 - final) * left)

    return factor


def schedule_optimizer(optimizer: Optimizer, factor: Factor) -> LambdaLR:
    """The schedule in the form that PyTorch steps once an optimizer step."""
    return LambdaLR(optimizer, factor)


def _warmup(step: int, warmup_steps: int) -> float:
    return min(1.0, (step + 1) / (warmup_steps + 1))


def _warmup_steps(warmup_share: float, total_steps: int) -> int:
    if total_steps < 1:
        raise UserError(
            f"schedule.total_steps: expected at least 1, got {total_steps}. Set trainer.max_steps,"
            " or schedule=constant, which needs no total."
        )
    if not 0 <= warmup_share < 1:
        raise UserError(f"schedule.warmup_share: expected [0, 1), got {warmup_share}")
    return int(warmup_share * total_steps)
