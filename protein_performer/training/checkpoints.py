"""Checkpoint files that are whole at every moment."""

import os
from pathlib import Path
from typing import Any

from pytorch_lightning.plugins.io import TorchCheckpointIO
from typing_extensions import override


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and puts it there in one step.

    Lightning's own writes it into the system's temporary folder and moves it. Where that is another
    file system, as on most clusters, moving means to overwrite the file in place: a process that is
    killed meanwhile leaves a torn checkpoint, and has lost the one before.
    """

    @override
    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        if "://" in str(path):  # elsewhere, such as s3://: objects appear whole
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path = Path(path)
        partial = path.with_name(f".{path.name}.partial")
        super().save_checkpoint(checkpoint, partial, storage_options)
        os.replace(partial, path)
