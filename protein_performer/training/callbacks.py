"""What happens beside the steps of training: random numbers, features, and a look at the loss."""

import random
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from typing_extensions import override

from protein_performer.errors import UserError
from protein_performer.training.module import LanguageModel


class SeedBatches(pl.Callback):
    """Seeds Python, NumPy and PyTorch (all devices) at each training batch.

    So dropout is a function of (seed, batch, rank), as batches, masks and random features are, and
    a resumed run has that of the uninterrupted one: there is no state of generators to keep, which
    a validation more or less, or another number of workers, would move.

    Args:
        seed: of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        # `processed` counts all epochs, and never a batch that an exception broke off.
        number = trainer.fit_loop.epoch_loop.batch_progress.total.processed
        mixed = np.random.SeedSequence([self.seed, number, trainer.global_rank])
        word = int(mixed.generate_state(1)[0])
        random.seed(word)
        np.random.seed(word)  # noqa: NPY002 (a mechanism of a user's may draw from it)
        torch.manual_seed(word)


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


class StopOnNonFinite(pl.Callback):
    """Ends a run whose loss is NaN or infinite: it would go on so to its end, and report nothing.

    Args:
        batches: in a row. They are counted on the device, and looked at every so many batches, so
            that a GPU need not wait at each one: after `2 * batches - 1` at the latest.
    """

    def __init__(self, batches: int) -> None:
        if batches < 1:
            raise UserError(f"callbacks.finite.batches: expected at least 1, got {batches}")
        self.batches = batches
        self._in_a_row: Tensor | None = None
        self._seen = 0

    @override
    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        loss = outputs["loss"].detach()
        before = torch.zeros_like(loss) if self._in_a_row is None else self._in_a_row
        self._in_a_row = torch.where(loss.isfinite(), 0, before + 1)
        self._seen += 1
        if self._seen % self.batches == 0 and int(self._in_a_row) >= self.batches:
            raise _diverged(
                f"train/loss was {loss.item()} at {self.batches} batches in a row or more", trainer
            )

    @override
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        loss = trainer.callback_metrics.get("val/loss")
        if loss is not None and not loss.isfinite():
            raise _diverged(f"val/loss was {loss.item()}", trainer)


def _diverged(what: str, trainer: pl.Trainer) -> UserError:
    return UserError(
        f"training diverged: {what}, at step {trainer.global_step}. checkpoints/last.ckpt, if"
        " there is one, has the last finite weights. Lower optimizer.lr, or set"
        " trainer.gradient_clip_val."
    )
