"""What a dashboard shows beside the curves: the confusion picture and the results table."""

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.loggers import WandbLogger
from typing_extensions import override

from protein_performer.alphabet import Alphabet
from protein_performer.metrics import ResidueMetrics
from protein_performer.reporting.plots import confusion_figure
from protein_performer.training.module import LanguageModel


class LogPictures(pl.Callback):
    """After a test: draws each test set's confusion into the run's folder, and into wandb if used.

    Args:
        folder: for the PNG files.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    @override
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, LanguageModel)
        if not trainer.is_global_zero:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, metrics in pl_module.test_metrics.items():
            assert isinstance(metrics, ResidueMetrics)
            model = pl_module.description["config"]["model"]["name"]
            title = f"{model} at step {pl_module.weights_step:,}, {name}"
            path = self._draw(name, title, metrics, pl_module.alphabet)
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger):
                    logger.log_image(f"{name}/confusion", [str(path)], step=trainer.global_step)

    @override
    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        rows = [[name, value.item()] for name, value in sorted(trainer.callback_metrics.items())]
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_table("results", ["metric", "value"], rows)

    def _draw(self, name: str, title: str, metrics: ResidueMetrics, alphabet: Alphabet) -> Path:
        letters = slice(alphabet.first_letter, None)
        confusion = metrics.confusion.cpu().numpy()[letters, letters]
        figure = confusion_figure(
            confusion,
            alphabet.letter_names,
            f"{title}: {confusion.sum():,} {alphabet.unit}s",
            unit=alphabet.unit,
        )
        path = self.folder / f"{name}_confusion.png"
        figure.savefig(path, dpi=120)
        return path
