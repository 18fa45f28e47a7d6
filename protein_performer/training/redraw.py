"""New random features every so many optimizer steps."""

from typing import Any

import pytorch_lightning as pl
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
