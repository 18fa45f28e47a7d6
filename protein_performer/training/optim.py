"""Optimizers over a whole module: AdamW; or Muon for its hidden matrices and AdamW for the rest.

Source of Muon: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks",
https://kellerjordan.github.io/posts/muon. A matrix moves by its momentum with all singular values
set to about 1, found by a Newton-Schulz iteration, so that no direction is left to a few strong
ones. The step's size is that of Liu et al. 2025, arXiv:2502.16982, section 2.2: the update's root
mean square becomes AdamW's usual 0.2, so that one rate and one decay serve both.

Differences: PyTorch's own (`torch.optim.Muon`, from 2.9 on) always computes in bfloat16, which many
laptops' CPUs only emulate, takes no other parameters, and one matrix at a time. Here it is float32
unless training is in bf16-mixed on a device that has such products, and matrices of one shape go
together.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from protein_performer.errors import UserError
from protein_performer.processor import multiplies_bfloat16

_QUINTIC = (3.4445, -4.7750, 2.0315)  # of the source: steep at 0, and near 1 on [0.7, 1.2]
_UPDATE_RMS = 0.2


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
    _check_options(lr, betas, eps, weight_decay)
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


class Muon(Optimizer):
    """Muon over `hidden`, AdamW over `others`: groups of parameters, as PyTorch's optimizers take.

    Its state and groups hold both, so that schedules, checkpoints and clipping see one optimizer.
    With `bfloat16`, matrices are orthogonalized in bfloat16 where the device has such products.
    """

    def __init__(
        self,
        hidden: dict[str, Any],
        others: list[dict[str, Any]],
        *,
        lr: float,
        momentum: float,
        betas: tuple[float, float],
        eps: float,
        bfloat16: bool = False,
    ) -> None:
        self.bfloat16 = bfloat16
        self._adamw = AdamW(others, lr=lr, betas=betas, eps=eps)
        matrices = {"lr": lr, "momentum": momentum, **hidden}
        super().__init__([matrices, *self._adamw.param_groups], {})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of all groups."""
        matrices, *others = self.param_groups
        # Loading a checkpoint replaces groups and state: AdamW is shown those of now.
        self._adamw.param_groups, self._adamw.state = others, self.state
        loss = self._adamw.step(closure)
        self._step_matrices(matrices)
        return loss

    @torch.no_grad()
    def _step_matrices(self, group: dict[str, Any]) -> None:
        alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for matrix in group["params"]:
            if matrix.grad is not None:
                alike[matrix.shape].append(matrix)
        for (rows, columns), matrices in alike.items():
            directions = [self._direction(each, group["momentum"]) for each in matrices]
            stacked = torch.stack(directions)
            half = self.bfloat16 and multiplies_bfloat16(stacked.device)
            steps = orthogonalize(stacked, dtype=torch.bfloat16 if half else torch.float32)
            size = group["lr"] * _UPDATE_RMS * max(rows, columns) ** 0.5
            for matrix, step in zip(matrices, steps, strict=True):
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(step, alpha=-size)

    def _direction(self, matrix: Tensor, momentum: float) -> Tensor:
        """The gradient with Nesterov's momentum."""
        state = self.state[matrix]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(matrix)
        assert matrix.grad is not None
        state["momentum"].lerp_(matrix.grad, 1 - momentum)
        return matrix.grad.lerp(state["momentum"], momentum).float()


def orthogonalize(
    matrices: Tensor, iterations: int = 5, dtype: torch.dtype = torch.float32
) -> Tensor:
    """(N, r, c) float32 to the same shape and dtype: singular values brought to 0.7-1.2.

    Newton-Schulz iteration with the quintic of the source. Values below about 1e-3 of the Frobenius
    norm are brought less far in five iterations; a matrix of zeros stays one.

    Args:
        matrices: whose singular vectors are kept.
        iterations: of the quintic.
        dtype: of the products; bfloat16, the source's, moves the result by about 1 % of its norm.
    """
    a, b, c = _QUINTIC
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp_min(1e-30)
    x = x.to(dtype)
    for _ in range(iterations):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    x = x.to(matrices.dtype)
    return x.mT if tall else x


def muon(
    module: nn.Module,
    *,
    lr: float,
    momentum: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    precision: str = "32-true",
) -> Muon:
    """Muon over the weights of a module's linear layers, but for its `head`; AdamW over the rest.

    Args:
        momentum: Muon's; `betas` and `eps` are AdamW's.
        weight_decay: decoupled and relative to lr, of all matrices; vectors do not decay.
        precision: the trainer's; with `bf16-mixed` Muon's products are bfloat16 too.

    Raises: UserError where there is no whole matrix to be found, as under FSDP.
    """
    _check_options(lr, betas, eps, weight_decay, momentum=momentum)
    head = getattr(module, "head", None)
    hidden = [
        layer.weight
        for layer in module.modules()
        if isinstance(layer, nn.Linear) and layer is not head and layer.weight.ndim == 2
    ]
    if not hidden:
        raise UserError(
            "optimizer=muon: expected a module with weights of linear layers as whole matrices,"
            " found none (FSDP cuts them in pieces). Set optimizer=adamw."
        )
    found = {id(matrix) for matrix in hidden}
    others = [p for p in module.parameters() if p.requires_grad and id(p) not in found]
    groups = [
        {"params": [p for p in others if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0},
    ]
    return Muon(
        {"params": hidden, "weight_decay": weight_decay},
        groups,
        lr=lr,
        momentum=momentum,
        betas=(betas[0], betas[1]),  # plain, where Hydra gives a list of its own
        eps=eps,
        bfloat16=precision == "bf16-mixed",
    )


def _check_options(lr: Any, betas: Any, eps: Any, weight_decay: Any, **below_one: Any) -> None:
    """Raise UserError, with the config key, for an option that is no number or out of its range."""
    for name, value in {"lr": lr, "eps": eps, "weight_decay": weight_decay}.items():
        if not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise UserError(f"optimizer.{name}: expected a number of at least 0, got {value!r}")
    if not isinstance(betas, Sequence) or isinstance(betas, str) or len(betas) != 2:
        raise UserError(f"optimizer.betas: expected two numbers, got {betas!r}")
    for name, value in {"betas[0]": betas[0], "betas[1]": betas[1], **below_one}.items():
        if not isinstance(value, int | float) or not 0 <= value < 1:
            raise UserError(f"optimizer.{name}: expected a number in [0, 1), got {value!r}")
