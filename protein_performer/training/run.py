"""The beginning and the end of a run: its seed, and what it leaves behind."""

import logging
import math
import re
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger, WandbLogger

from protein_performer.alphabet import Alphabet
from protein_performer.errors import UserError
from protein_performer.reporting.tables import Metrics, make_console, results_table, write_metrics
from protein_performer.training.building import build
from protein_performer.training.lightning import usable_precision
from protein_performer.training.module import LanguageModel
from protein_performer.training.throughput import of_run

log = logging.getLogger(__name__)

_TIME = re.compile(r"\d+:\d\d:\d\d:\d\d")


def check_multirun(trainer: pl.Trainer) -> None:
    """Refuse a Hydra multirun whose ranks Lightning would start itself.

    It starts them by running the command line again, `--multirun` included: each would go through
    all of the sweep, in a folder of its own, and a sampler might give them different jobs.
    """
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if environment is None or trainer.world_size == 1:
        return
    if not environment.creates_processes_externally:
        raise UserError(
            f"--multirun: expected trainer.devices=1, or ranks that are started from outside; got"
            f" {trainer.world_size} ranks that this process would start. Use `torchrun"
            f" --nproc_per_node={trainer.num_devices} train.py --multirun ...`, a SLURM launcher,"
            " or trainer.devices=1. See docs/distributed.md."
        )


def build_trainer(
    cfg: DictConfig, loggers: Sequence[Logger], callbacks: Sequence[pl.Callback]
) -> pl.Trainer:
    """Lightning's trainer, of `cfg.trainer`, in a precision that this machine gains by."""
    limit = cfg.trainer.max_time
    if isinstance(limit, int | float) or (isinstance(limit, str) and not _TIME.fullmatch(limit)):
        raise UserError(
            "trainer.max_time: expected days:hours:minutes:seconds, as in 00:00:05:20, or null, got"
            f" {limit!r}"
        )
    trainer: pl.Trainer = build(
        cfg,
        "trainer",
        logger=list(loggers),
        callbacks=list(callbacks),
        precision=usable_precision(cfg.trainer.precision, cfg.trainer.accelerator),
    )
    return trainer


def seed_everything(seed: Any) -> None:
    """Seed Python, NumPy and PyTorch, in this process and in those that load data."""
    if not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise UserError(f"seed: expected a whole number from 0 to 2**32 - 1, got {seed!r}")
    pl.seed_everything(seed, workers=True, verbose=False)


def finish(
    trainer: pl.Trainer,
    module: LanguageModel,
    data: pl.LightningDataModule,
    run_dir: Path,
    config: Mapping[str, Any],
) -> Metrics:
    """Test the best checkpoint, write `metrics.json`, print the table and what to do next."""
    checkpoints = run_dir / "checkpoints"
    best, last = checkpoints / "best.ckpt", checkpoints / "last.ckpt"
    if not last.is_file():  # resumed from another folder's last step: there was nothing to do
        trainer.save_checkpoint(last)
    if not best.is_file():
        log.warning("fitting ended before the first validation: best.ckpt is the last step's")
        trainer.save_checkpoint(best)
    metrics = _training_metrics(trainer, module, config)
    trainer.validate(module, data, ckpt_path=best, verbose=False)
    trainer.test(module, data, ckpt_path=best, verbose=False)
    metrics.update(module.results)
    _check_finite(metrics)
    if trainer.is_global_zero:
        write_metrics(run_dir, metrics)
        _print_results(metrics, best, module.alphabet)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                make_console().print(f"  wandb leet {logger.save_dir}/wandb", soft_wrap=True)
    return metrics


def _check_finite(metrics: Metrics) -> None:
    for name, value in metrics.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(
                f"{name}: expected a finite number, got {value}. Training diverged, or nothing was"
                " scored (objective.task.select, the size of the split)."
            )


def _training_metrics(
    trainer: pl.Trainer, module: LanguageModel, config: Mapping[str, Any]
) -> dict[str, float | int | str]:
    throughput = of_run(trainer)
    metrics: dict[str, float | int | str] = {
        "model/name": config["model"]["name"],
        "model/parameters": sum(p.numel() for p in module.model.parameters()),
        "objective": config["objective"]["name"],
        "seed": config["seed"],
        "train/steps": trainer.global_step,
        f"train/{module.alphabet.unit}s": throughput.residues,
        "train/seconds": round(throughput.seconds, 2),
        "train/peak_memory_bytes": _peak_memory(module.device),
    }
    if throughput.distil_seconds:
        metrics["train/distil_seconds"] = round(throughput.distil_seconds, 2)
    return metrics


def _peak_memory(device: torch.device) -> int:
    """The most bytes so far: on a GPU of tensors, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _print_results(metrics: Metrics, best: Path, alphabet: Alphabet) -> None:
    console = make_console()
    console.print(results_table(metrics))
    of_proteins = (
        f"  protein-performer evaluate {best} YOURS.fasta\n"
        f"  protein-performer embed {best} YOURS.fasta embeddings.h5\n"
    )
    console.print(
        f"\nCheckpoint: {best}\nNext:\n{of_proteins if alphabet.unit == 'residue' else ''}",
        end="",
        soft_wrap=True,
        highlight=False,
    )
