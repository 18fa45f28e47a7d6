"""What a person sees while a run goes on."""

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar
from typing_extensions import override


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
