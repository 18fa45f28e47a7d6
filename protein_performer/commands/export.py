"""A checkpoint as a folder for Hugging Face's transformers, with a model card.

The folder holds config, weights (safetensors), tokenizer, and the source that loads them where
protein-performer is not installed (trust_remote_code=True). All verbs take it as a checkpoint.
Needs the extra hf.

  protein-performer export logs/runs/RUN my_model
"""

import argparse
from pathlib import Path
from typing import Any

from protein_performer.commands.arguments import add_checkpoint, load_model
from protein_performer.errors import UserError
from protein_performer.reporting.tables import METRICS_FILE, read_metrics


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    add_checkpoint(parser)
    parser.add_argument("out", type=Path, help="the folder to write; must not exist, or be empty")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Do it, print what was done, return the figures."""
    args.device = "cpu"
    try:
        from protein_performer.hf.folder_export import export_checkpoint
    except ImportError as error:
        raise UserError(str(error)) from None
    checkpoint = load_model(args).checkpoint
    files = export_checkpoint(checkpoint, args.out, metrics=_metrics(checkpoint.path))
    weights = sum(each.numel() for each in checkpoint.model.parameters())
    print(f"{checkpoint.model_config.name}: {weights:,} weights, {len(files)} files -> {args.out}")
    return {"folder": str(args.out), "files": files, "weights": weights, "step": checkpoint.step}


def _metrics(path: Path) -> dict[str, Any] | None:
    """Of the run that wrote a best checkpoint, which is the one that it tested."""
    run = path.parent.parent
    if path.name != "best.ckpt" or not (run / METRICS_FILE).is_file():
        return None
    return dict(read_metrics(run))
