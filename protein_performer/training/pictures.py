"""Pictures of a run in its folder, and in wandb if that is used; and the table of results there."""

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.loggers import WandbLogger
from typing_extensions import override

from protein_performer.alphabet import Alphabet
from protein_performer.metrics import ResidueMetrics
from protein_performer.reporting.plots import confusion_figure, curves_figure
from protein_performer.reporting.runs import read_run, write_letters
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
        letters: dict[str, dict[str, tuple[int, int]]] = {}
        for name, metrics in pl_module.test_metrics.items():
            assert isinstance(metrics, ResidueMetrics)
            model = pl_module.description["config"]["model"]["name"]
            title = f"{model} at step {pl_module.weights_step:,}, {name}"
            path = self._draw(name, title, metrics, pl_module.alphabet)
            letters[name] = _letter_counts(metrics, pl_module.alphabet)
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger):
                    logger.log_image(f"{name}/confusion", [str(path)], step=trainer.global_step)
        write_letters(self.folder.parent, letters)

    @override
    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self._draw_curves(trainer)
        rows = [[name, value.item()] for name, value in sorted(trainer.callback_metrics.items())]
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_table("results", ["metric", "value"], rows)

    def _draw_curves(self, trainer: pl.Trainer) -> None:
        """Of the loggers' file: a resumed run's curve is drawn from its beginning."""
        for logger in trainer.loggers:
            logger.save()
        run = read_run(self.folder.parent)
        named = {name: run.curve(f"{name}/loss") for name in ("train", "val")}
        curves = {
            name: ([step for step, _ in curve], [loss for _, loss in curve])
            for name, curve in named.items()
            if curve
        }
        if curves:  # none with logger=null
            figure = curves_figure(curves, "step", "loss, nats")
            figure.savefig(self.folder / "curves.png", dpi=120)

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


def _letter_counts(metrics: ResidueMetrics, alphabet: Alphabet) -> dict[str, tuple[int, int]]:
    """Letter -> (times it was the target, times it was predicted there); those that occur."""
    asked, right = metrics.target_counts.tolist(), metrics.confusion.diag().tolist()
    first = alphabet.first_letter
    pairs = zip(alphabet.letter_names, asked[first:], right[first:], strict=True)
    return {letter: (times, hits) for letter, times, hits in pairs if times}
