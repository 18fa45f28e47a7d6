"""What a person sees while a run goes on: one line that moves, or one every so many steps.

The steps are counted, and the time left is told, to the end of the run, and not of an epoch.
"""

import logging
import time
from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar, Timer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from typing_extensions import override

log = logging.getLogger(__name__)

_SHOWN = {  # in the width of 80 columns, with a bar
    "train/loss": "loss {:.3f}",
    "val/perplexity": "val ppl {:.2f}",
    "speed/residues_per_second": "{:,.0f} res/s",
    "speed/bytes_per_second": "{:,.0f} B/s",
}
_REFRESH_SECONDS = 0.5  # between two looks at values, for which a GPU must be waited for


def make_progress(every_n_steps: int) -> ProgressBar:
    """A line that moves where there is a terminal; else a line in the log every so many steps."""
    return MovingLine() if Console().is_terminal else LogLines(every_n_steps)


class _RunProgress(ProgressBar):
    """How far a run has come, in words."""

    def __init__(self) -> None:
        super().__init__()
        self._first_step = 0
        self._started = 0.0

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._first_step, self._started = trainer.global_step, time.monotonic()

    def line(self, trainer: pl.Trainer) -> str:
        """The newest values, and the time left; what is not known yet is left out."""
        metrics = trainer.progress_bar_metrics
        said = [form.format(metrics[name]) for name, form in _SHOWN.items() if name in metrics]
        left = self._seconds_left(trainer)
        if left is not None:
            said.append(f"{timedelta(seconds=round(left))} left")
        return "  ".join(said)

    def steps(self, trainer: pl.Trainer) -> str:
        """Those taken, and of how many."""
        of = f"/{trainer.max_steps:,}" if trainer.max_steps > 0 else ""
        return f"step {trainer.global_step:,}{of}"

    def _seconds_left(self, trainer: pl.Trainer) -> float | None:
        """Until the last step at the speed so far, or until the time limit if that is sooner."""
        limits = [c.time_remaining() for c in trainer.callbacks if isinstance(c, Timer)]
        ends = [limit for limit in limits if limit is not None]
        taken = trainer.global_step - self._first_step
        if taken and trainer.max_steps > 0:
            seconds = (time.monotonic() - self._started) / taken
            ends.append(seconds * (trainer.max_steps - trainer.global_step))
        return max(0.0, min(ends)) if ends else None


class MovingLine(_RunProgress):
    """One line at the terminal's foot, of whatever width; nothing remains of it."""

    def __init__(self) -> None:
        super().__init__()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[said]}"),
            expand=True,
            transient=True,
        )
        self._task = self._bar.add_task("", said="", total=None)
        self._shown = 0.0

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if trainer.is_global_zero:
            self._bar.start()

    @override
    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if time.monotonic() - self._shown > _REFRESH_SECONDS:
            self._show(trainer, self.steps(trainer))

    @override
    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.training or trainer.validating:
            self._show(trainer, "validating")

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._bar.stop()

    @override
    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._bar.stop()

    def _show(self, trainer: pl.Trainer, what: str) -> None:
        if self._bar.live.is_started:
            total = trainer.max_steps if trainer.max_steps > 0 else None
            done = trainer.global_step
            said = self.line(trainer)
            self._bar.update(self._task, description=what, completed=done, total=total, said=said)
            self._shown = time.monotonic()


class LogLines(_RunProgress):
    """A line in the log every so many steps: for files, batch systems and notebooks.

    Args:
        every_n_steps: optimizer steps between two lines.
    """

    def __init__(self, every_n_steps: int) -> None:
        super().__init__()
        self.every_n_steps = every_n_steps
        self._said_at = 0

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
        due = step % self.every_n_steps == 0 or step == trainer.max_steps
        if due and step != self._said_at and trainer.is_global_zero:
            self._said_at = step
            log.info("%s  %s", self.steps(trainer), self.line(trainer))
