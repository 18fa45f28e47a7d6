"""What a person sees while a run goes on."""

import logging
import warnings

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar
from typing_extensions import override

# Remarks of Lightning's that ask nothing of the user: about its own products and defaults, and
# about folders that we chose to share.
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


class ProgressBar(RichProgressBar):
    """A live bar with the loss, the newest validation perplexity, and residues per second."""

    @override
    def get_metrics(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        shown = {
            "train/loss": ("loss", "{:.3f}"),
            "val/perplexity": ("val ppl", "{:.2f}"),
            "train/residues_per_second": ("res/s", "{:,.0f}"),
            "train/bytes_per_second": ("bytes/s", "{:,.0f}"),
        }
        metrics = super().get_metrics(trainer, pl_module)
        return {
            title: form.format(metrics[name])
            for name, (title, form) in shown.items()
            if name in metrics
        }

    @override
    def _get_train_description(self, current_epoch: int) -> str:
        # Lightning's own counts towards max_epochs, which is -1 where steps or minutes end a run.
        return f"epoch {current_epoch + 1}".ljust(len(self.validation_description))
