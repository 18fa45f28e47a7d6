"""Lightning's wandb logger, without two warnings that a user could do nothing about."""

from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import WandbLogger
from typing_extensions import override


class Dashboard(WandbLogger):
    """A `WandbLogger` that makes its folder, and passes no option that wandb has given up.

    wandb looks for a git repository around the folder, and warns if there is no folder. Lightning
    passes on its `anonymous` even where it was not set, and wandb warns that it has no effect.

    Args:
        save_dir: where wandb writes its `wandb/`.
        options: see `WandbLogger`.
    """

    @override
    def __init__(self, *, save_dir: str, **options: Any) -> None:
        super().__init__(save_dir=save_dir, **options)
        Path(save_dir).mkdir(parents=True, exist_ok=True)
        self._wandb_init.pop("anonymous", None)
