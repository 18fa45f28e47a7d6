"""What we mend in Lightning: torn checkpoints, remarks that ask nothing, options wandb gave up."""

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.plugins.io import TorchCheckpointIO
from typing_extensions import override

from protein_performer.files import replacing

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
