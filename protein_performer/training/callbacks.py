"""What happens beside the steps of training: features are redrawn, `last.ckpt` is written."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from typing_extensions import override

from protein_performer.errors import UserError
from protein_performer.training.module import LanguageModel


class RedrawFeatures(pl.Callback):
    """Gives the mechanisms draw number `global_step // every_n_steps`, in training only.

    The draw is a function of the step, and a mechanism's features one of (seed, layer, draw), so
    ranks agree without talking and a resumed run has the features of the uninterrupted one. The
    paper redraws at every step (section 4.2); `model.redraw_every` is our N, null keeps draw 0.
    """

    def __init__(self, every_n_steps: int | None) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise UserError(
                f"model.redraw_every: expected at least 1, or null, got {every_n_steps}"
            )
        self.every_n_steps = every_n_steps
        self._drawn: int | None = None

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, LanguageModel)
        draw = trainer.global_step // self.every_n_steps if self.every_n_steps else 0
        if draw != self._drawn:
            pl_module.model.redraw_(draw)
            self._drawn = draw


class SaveLast(Checkpoint):
    """Writes `last.ckpt` every so many optimizer steps, and at a run's last one.

    Lightning's own ModelCheckpoint leaves out a last step that is no multiple; and a checkpoint
    saved after fitting, outside a batch's end, makes a resumed run count its logged steps twice.

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
        self._saved_at = -1

    @override
    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        step = trainer.global_step
        due = step % self.every_n_train_steps == 0 and step > 0
        ends = trainer.should_stop or step == trainer.max_steps
        # With gradient accumulation several batches end at one step.
        if (due or ends) and step != self._saved_at:
            trainer.save_checkpoint(self.path)
            self._saved_at = step
