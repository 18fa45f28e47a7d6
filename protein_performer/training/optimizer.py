"""AdamW over a module's parameters."""

from typing import Literal

from torch import nn
from torch.optim import AdamW

from protein_performer.errors import UserError


def adamw(
    module: nn.Module,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decay: Literal["matrices", "all"],
) -> AdamW:
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), decay decoupled and relative to lr.

    Args:
        decay: which parameters decay: `matrices` (two or more dimensions), or `all`, biases and
            layer norms included, as in the authors' protein models.
    """
    if decay not in ("matrices", "all"):
        raise UserError(f"optimizer.decay: expected matrices or all, got {decay!r}")
    parameters = [p for p in module.parameters() if p.requires_grad]
    decayed = [p for p in parameters if decay == "all" or p.ndim >= 2]
    spared = [p for p in parameters if decay == "matrices" and p.ndim < 2]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    return AdamW([group for group in groups if group["params"]], lr=lr, betas=betas, eps=eps)
