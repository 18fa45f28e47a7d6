"""How fast a run learns from residues, and how much of its work is padding."""

import time
from collections.abc import Callable
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor
from typing_extensions import override

from protein_performer.alphabet import Alphabet
from protein_performer.batch import Batch
from protein_performer.training.module import LanguageModel


class Throughput(pl.Callback):
    """Logs `speed/residues_per_second` and `speed/padding_share`, and totals of the whole run.

    Of text it counts bytes, and names them so.

    Seconds are those between the start of a training batch and its end, the wait for the next batch
    included, validation and checkpoints not. The totals go on over a resumed run.

    Attributes:
        distil_seconds: what was spent on distilling, before training; no part of `seconds`.
    """

    def __init__(self) -> None:
        self.residues = 0
        self.seconds = 0.0
        self.distil_seconds = 0.0
        self._window: list[Tensor] = []  # (residues, tokens, places) of each batch, on its device
        self._window_start = 0.0
        self._close_before_saving: Callable[[], None] = lambda: None

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close_before_saving = lambda: self._close_window(trainer, pl_module, log=False)
        self._window_start = time.perf_counter()

    @override
    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        self._window.append(_count(batch))
        if trainer.global_step % trainer.log_every_n_steps == 0:
            self._close_window(trainer, pl_module)

    @override
    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._close_window(trainer, pl_module, log=False)

    @override
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._window_start = time.perf_counter()

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close_window(trainer, pl_module, log=False)

    def _close_window(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *, log: bool = True
    ) -> None:
        if not self._window:
            return
        # One sum over the ranks and one transfer from the device a window, not one a step.
        counts = trainer.strategy.reduce(torch.stack(self._window).sum(0), reduce_op="sum")
        residues, tokens, places = counts.tolist()
        now = time.perf_counter()
        seconds = now - self._window_start
        self.residues += residues
        self.seconds += seconds
        if log:
            unit = cast(LanguageModel, pl_module).alphabet.unit
            pl_module.log(f"speed/{unit}s_per_second", residues / seconds, prog_bar=True)
            pl_module.log("speed/padding_share", 1 - tokens / places)
            pl_module.log(f"train/{unit}s", float(self.residues))
            pl_module.log("train/seconds", self.seconds)
        self._window, self._window_start = [], now

    @override
    def state_dict(self) -> dict[str, Any]:
        self._close_before_saving()  # else a resumed run would count less than the uninterrupted
        return {
            "residues": self.residues,
            "seconds": self.seconds,
            "distil_seconds": self.distil_seconds,
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.residues, self.seconds = state_dict["residues"], state_dict["seconds"]
        self.distil_seconds = state_dict.get("distil_seconds", 0.0)  # none in earlier versions


def of_run(trainer: pl.Trainer) -> Throughput:
    """The one that counts a run; `conf/callbacks` has one in each."""
    return next(each for each in trainer.callbacks if isinstance(each, Throughput))


def _count(batch: Batch) -> Tensor:
    """(3,) int64: residues, tokens, and places of the padded rectangle."""
    special = (batch.inputs == Alphabet.bos) | (batch.inputs == Alphabet.eos)
    residues = (batch.mask & ~special).sum()
    places = torch.tensor(batch.mask.numel(), device=batch.mask.device)
    return torch.stack((residues, batch.mask.sum(), places))
