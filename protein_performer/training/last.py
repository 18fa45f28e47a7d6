"""The checkpoint that a run is resumed from, and the end of a run that is asked to stop."""

import logging
import signal
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from pytorch_lightning.trainer.states import TrainerFn
from typing_extensions import override

from protein_performer.errors import UserError
from protein_performer.training.lightning import validation_follows
from protein_performer.training.signals import DeferredStop, Stopped

log = logging.getLogger(__name__)


class SaveLast(Checkpoint):
    """Writes `last.ckpt` every so many steps, with each `best.ckpt`, at the end, and when stopped.

    With `best.ckpt`, so that no run has the one alone: it could neither go on nor begin again.

    Always between two optimizer steps: inside a window of gradient accumulation the gradients would
    be lost. And where a validation follows the step, behind it: a run that is killed in between
    takes up before both, so no validation is left out. Loggers write to disk as the next batch
    starts, when they have the checkpoint's step, so that the curves are whole up to it. Weights
    that are not finite are not kept.

    Lightning's own ModelCheckpoint leaves out a last step that is no multiple, and saves in the
    middle of a window.

    Args:
        path: of the file; each writing replaces it, in one step (`WholeCheckpoints`).
        every_n_train_steps: optimizer steps between two writings.
    """

    def __init__(self, path: str, every_n_train_steps: int) -> None:
        if every_n_train_steps < 1:
            raise UserError(
                "callbacks.checkpoint.every_n_train_steps: expected at least 1, got"
                f" {every_n_train_steps}"
            )
        self.path = Path(path)
        self.every_n_train_steps = every_n_train_steps
        self._stop = DeferredStop()
        self._step_before = 0
        self._between_steps = False
        self._due = False
        self._saved = False
        self._asked = False

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop.begin()

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._step_before = trainer.global_step
        self._end_saving(trainer)

    @override
    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._between_steps = trainer.global_step != self._step_before
        if not self._between_steps:
            trainer.should_stop = False  # a time limit is due again at the window's end
            return
        self._due |= trainer.global_step % self.every_n_train_steps == 0 or _is_last(trainer)
        if not validation_follows(trainer):
            self._save_if_due(trainer, pl_module)

    @override
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            return
        self._due |= _best_was_saved(trainer)
        if self._between_steps:
            self._save_if_due(trainer, pl_module)

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop.end()
        self._end_saving(trainer)

    @override
    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._stop.end()

    def _save_if_due(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # Of all ranks: a signal may have come to one of them only.
        received = self._stop.received is not None
        self._asked = trainer.strategy.reduce_boolean_decision(received, all=False)
        if self._due or self._asked:
            self.save(trainer, module)

    def _end_saving(self, trainer: pl.Trainer) -> None:
        if self._saved:
            for logger in trainer.loggers:
                logger.save()
            self._saved = False
        if self._asked:
            raise Stopped(self._stop.received or signal.SIGTERM)

    def save(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write the file now, unless a weight is not finite."""
        self._due = False
        finite = all(bool(torch.isfinite(p).all()) for p in module.parameters())
        if not trainer.strategy.reduce_boolean_decision(finite):
            log.warning(
                "step %s: weights that are not finite; %s stays as it was",
                trainer.global_step,
                self.path,
            )
            return
        trainer.save_checkpoint(self.path)
        self._saved = True


def _best_was_saved(trainer: pl.Trainer) -> bool:
    """Whether `best.ckpt` was written at this step; Lightning calls whoever saves in our order."""
    savers = [each for each in trainer.checkpoint_callbacks if isinstance(each, ModelCheckpoint)]
    at_this_step = any(each._last_global_step_saved == trainer.global_step for each in savers)
    return at_this_step and not trainer.sanity_checking


def _is_last(trainer: pl.Trainer) -> bool:
    """Whether the run ends with the step that was taken."""
    if trainer.should_stop or trainer.global_step == trainer.max_steps:
        return True
    last_epoch = trainer.max_epochs is not None and trainer.current_epoch + 1 == trainer.max_epochs
    return last_epoch and trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
