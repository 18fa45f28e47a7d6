"""What we mend in Lightning: torn checkpoints, a count of steps, remarks that ask nothing."""

import logging
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.trainer.states import TrainerFn
from typing_extensions import override

from protein_performer.files import replacing
from protein_performer.processor import multiplies_bfloat16

log = logging.getLogger(__name__)

# Remarks about Lightning's own products and defaults, and about folders that we chose to share.
_REMARKS = (
    r".*litlogger.*",
    r".*Experiment logs directory .* exists and is not empty.*",
    r".*does not have many workers.*",
    r".*isinstance\(treespec, LeafSpec\).*",
    r".*The number of training batches .* is smaller than the logging interval.*",
    r".*Checkpoint directory .* exists and is not empty.*",
)


def quiet_lightning() -> None:
    """Leave warnings and errors, drop the rest."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    for remark in _REMARKS:
        warnings.filterwarnings("ignore", message=remark)


def close_loggers(loggers: Iterable[Logger]) -> None:
    """End wandb's run, if there is one: else the next job of a sweep would write into it."""
    if any(isinstance(logger, WandbLogger) for logger in loggers):
        import wandb  # takes a second, and is not used with logger=csv

        wandb.finish()


def usable_precision(precision: str | int, accelerator: str) -> str | int:
    """The trainer's precision; float32 for bf16-mixed on a CPU without bfloat16 products.

    Autocast would convert there and compute in float32 nevertheless, in more time.
    """
    on_cpu = accelerator == "cpu" or (
        accelerator == "auto" and not torch.accelerator.is_available()
    )
    if not on_cpu or precision != "bf16-mixed" or multiplies_bfloat16(torch.device("cpu")):
        return precision
    log.warning("this CPU has no bfloat16 products: trainer.precision=bf16-mixed trains in float32")
    return "32-true"


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and puts it there in one step.

    Lightning's own writes it into the system's temporary folder and moves it. Where that is another
    file system, as on most clusters, moving means to overwrite the file in place: a process that is
    killed meanwhile leaves a torn checkpoint, and has lost the one before. And the file keeps the
    permissions of a temporary one: nobody else may read it.
    """

    @override
    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        if "://" in str(path):  # elsewhere, such as s3://: objects appear whole
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            torch.save(checkpoint, partial)


class StepCount(pl.Callback):
    """Keeps the step that loggers see at that of the optimizer.

    Lightning has a count of its own for them. Resumed from a checkpoint that was saved behind a
    validation, it is one too small: until the next validation, or to the end where no step is left.
    First of all callbacks, since others log as a batch starts.
    """

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._set(trainer)

    @override
    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            self._set(trainer)

    @override
    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._set(trainer)

    def _set(self, trainer: pl.Trainer) -> None:
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step


def validation_follows(trainer: pl.Trainer) -> bool:
    """Whether Lightning validates behind the training batch that ends now."""
    loop = trainer.fit_loop
    assert loop._data_fetcher is not None
    return bool(loop.epoch_loop._should_check_val_fx(loop._data_fetcher))
