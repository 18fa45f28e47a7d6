"""One wandb run for a run, also for one that is resumed. Imports wandb only where it is used."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import rank_zero_experiment
from pytorch_lightning.utilities import rank_zero_only
from typing_extensions import override

from protein_performer.errors import UserError

# The smallest of a curve is what a table of runs should show, not the last value.
_SMALLEST = ("val/loss", "val/perplexity")
# The curves that are looked at, of training, validation and each test. wandb sorts charts by name,
# a page after the other: what tells of the work stands behind these, constants are no charts.
_FIGURES = ("loss", "perplexity", "accuracy", "bits_per_byte")
_OF_THE_WORK = ("epoch", "rate", "speed", "train")


class Dashboard(WandbLogger):
    """A `WandbLogger` whose run goes on where its training run does.

    It makes its folder, since wandb warns if there is none; and it passes no `anonymous`, which
    Lightning passes on even where it was not set, and of which wandb warns that it has no effect.

    Args:
        id_file: keeps the identity of the wandb run, in the training run's folder. An offline run
            that is resumed gets a second folder of the same identity, and `wandb sync` joins them.
        save_dir: where wandb writes its `wandb/`.
        mode: `offline`, `online` or `disabled`.
        options: see `WandbLogger`.

    Raises: UserError where a key is missing and nobody could be asked for it.
    """

    @override
    def __init__(self, *, id_file: str, save_dir: str, mode: str, **options: Any) -> None:
        if mode == "online":
            _check_key()
        Path(save_dir).mkdir(parents=True, exist_ok=True)
        super().__init__(save_dir=save_dir, mode=mode, id=_identity(Path(id_file)), **options)
        self._wandb_init.pop("anonymous", None)

    @property
    @override
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            run = super().experiment
            for name in _SMALLEST:
                run.define_metric(name, step_metric="trainer/global_step", summary="min")
        return self._experiment

    @override
    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Losses and their like under their names, rates and speeds as `work/...`.

        What a test finds of its baselines and its size is one number each: of the summary alone.
        """
        curves, constants = {}, {}
        for name, value in metrics.items():
            section, _, figure = name.partition("/")
            if figure in _FIGURES:
                curves[name] = value
            elif section in _OF_THE_WORK:
                curves[f"work/{name}"] = value
            else:
                constants[name] = value
        super().log_metrics(curves, step)
        self.experiment.summary.update(constants)


def _identity(path: Path) -> str:
    """That of the wandb run of this folder; a new one is kept there."""
    if not path.is_file():
        path.write_text(secrets.token_hex(4))
    return path.read_text().strip()


def _check_key() -> None:
    import wandb

    if wandb.api.api_key is None:
        raise UserError(
            "logger.mode=online: expected a key of wandb, found none. Run `wandb login`, set"
            " WANDB_API_KEY, or leave logger.mode=offline and run `wandb sync` later."
        )
