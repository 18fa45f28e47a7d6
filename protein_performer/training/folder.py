"""A run's folder: whose it is, what it goes on from, how the run in it ended.

`config.yaml` is the config in use, `status.json` says how far the run has come and how it was
started, `checkpoints/` has the weights, `metrics.csv` the curves, `metrics.json` the results.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from pytorch_lightning.utilities import rank_zero_only
from typing_extensions import override

from protein_performer.addresses import public_address, public_text
from protein_performer.errors import UserError
from protein_performer.files import locked, replacing
from protein_performer.inference.checkpoint import stored_run
from protein_performer.reporting.results import commit
from protein_performer.reporting.runs import CONFIG_FILE
from protein_performer.reporting.status import Status, write_status
from protein_performer.reporting.tables import METRICS_FILE
from protein_performer.training.history import History
from protein_performer.training.resume import check_resumable
from protein_performer.training.signals import Stopped

log = logging.getLogger(__name__)

_LOCK_FILE = ".lock"


class Start(NamedTuple):
    """Where a run begins: at a checkpoint and the optimizer steps it has taken, or anew."""

    checkpoint: Path | None
    step: int


@contextmanager
def opened(run_dir: Path, ckpt_path: str | None, config: Mapping[str, Any]) -> Iterator[Start]:
    """The folder for this run alone, with its `status.json` kept from now to the run's end.

    Args:
        run_dir: the run's folder.
        ckpt_path: see `resume_from`.
        config: resolved, as it may be stored.

    Raises: UserError if the folder is in use or has been used, and if the checkpoint is of another
        experiment; what is in the folder stays as it is then.
    """
    with _alone_in(run_dir):
        checkpoint = resume_from(ckpt_path, run_dir)
        step = _check_same_experiment(checkpoint, config) if checkpoint else 0
        with _status_kept(run_dir):
            yield Start(checkpoint, step)


@contextmanager
def _alone_in(run_dir: Path) -> Iterator[None]:
    """Keep the folder for this run; a lock that a killed process held is free.

    Raises: UserError if another run is in it.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    if rank_zero_only.rank != 0:  # the other ranks of a run share what rank 0 holds
        yield
        return
    busy = f"{run_dir}: another run is in this folder. Wait for its end, or set hydra.run.dir."
    with locked(run_dir / _LOCK_FILE, busy=busy):
        yield


def public_config(config: Any) -> Any:
    """A resolved config in plain types, as it may be stored: no address holds a password."""
    if isinstance(config, Mapping):
        return {key: public_config(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [public_config(value) for value in config]
    return public_address(config) if isinstance(config, str) else config


def resume_from(ckpt_path: str | None, run_dir: Path) -> Path | None:
    """The checkpoint to go on from, or None to start anew.

    Args:
        ckpt_path: a path; `last` for the one in the run's own folder; `auto` for the same if there
            is one; None to start anew.
        run_dir: the run's folder.

    Raises: UserError if there is no such file, and if starting anew would overwrite a run.
    """
    last = run_dir / "checkpoints" / "last.ckpt"
    if ckpt_path == "auto" and last.is_file():
        return last
    if ckpt_path in (None, "auto"):
        _check_unused(run_dir)
        return None
    path = last if ckpt_path == "last" else Path(str(ckpt_path))
    if not path.is_file():
        raise UserError(
            f"ckpt_path={ckpt_path}: there is no {path}. `last` looks in this run's own folder: set"
            " hydra.run.dir to the folder of the run to continue."
        )
    if path.resolve().parent != last.resolve().parent:
        _check_unused(run_dir)
    return path


def _check_unused(run_dir: Path) -> None:
    kept = [*(run_dir / "checkpoints").glob("*.ckpt"), run_dir / METRICS_FILE]
    found = [path for path in kept if path.exists()]
    if found:
        raise UserError(
            f"{run_dir}: expected a folder without a run, found {found[0].relative_to(run_dir)}. Go"
            " on with ckpt_path=last (or auto, which also starts where there is nothing), or set"
            " hydra.run.dir."
        )


def _check_same_experiment(checkpoint: Path, config: Mapping[str, Any]) -> int:
    """Compare the checkpoint's config with this run's; announce what may change.

    Returns: the optimizer steps that the checkpoint has taken.
    Raises: UserError, naming each field that may not change; or for a file that is no checkpoint.
    """
    before, step = stored_run(checkpoint)
    for each in check_resumable(before, config):
        if each.changes_results:
            rank_zero_only(log.info)("resuming with another value: %s", each)
    return step


@contextmanager
def _status_kept(run_dir: Path) -> Iterator[None]:
    """Keep `status.json` of the run that the block is, from its beginning to its end."""
    chosen = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    overrides = [public_text(each) for each in chosen]
    write, code = rank_zero_only(write_status), commit()

    def keep(state: str, reason: str = "") -> None:
        write(run_dir, Status(state, reason, overrides, code))

    keep("running")
    try:
        yield
        keep("finished")
    except Stopped as stopped:
        keep("stopped", stopped.signal)
        going_on = _going_on(run_dir, overrides)
        rank_zero_only(log.warning)("stopped by %s. To go on: %s", stopped.signal, going_on)
        raise
    except UserError as error:
        began = (run_dir / CONFIG_FILE).is_file()
        keep("failed" if began else "skipped", str(error))
        raise
    except BaseException as error:
        keep("failed", public_text(f"{type(error).__name__}: {error}"))
        raise


def _going_on(run_dir: Path, overrides: list[str]) -> str:
    kept = [each for each in overrides if not each.startswith(("ckpt_path=", "hydra.run.dir="))]
    words = " ".join([*kept, f"hydra.run.dir={run_dir}", "ckpt_path=auto"])
    return f"python train.py {words}"


class BeginRun(pl.Callback):
    """Writes `config.yaml`, cuts the curves back to the checkpoint, and gives loggers the config.

    As fitting starts: until then the run may still be refused, and what is in the folder is that of
    the run before.

    Args:
        run_dir: the run's folder.
        config: resolved, as it may be stored.
        step: that the run goes on from.
    """

    def __init__(self, run_dir: Path, config: dict[str, Any], step: int) -> None:
        self.run_dir = run_dir
        self.config = config
        self.step = step

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            log.info("%s", self._introduction(trainer, pl_module))
            with replacing(self.run_dir / CONFIG_FILE) as partial:
                OmegaConf.save(OmegaConf.create(self.config), partial)
        for logger in trainer.loggers:
            logger.log_hyperparams(self.config)
            if isinstance(logger, History):
                logger.begin_at(self.step)

    def _introduction(self, trainer: pl.Trainer, module: pl.LightningModule) -> str:
        parameters = sum(p.numel() for p in module.parameters())
        ranks = f" on {trainer.world_size} ranks" if trainer.world_size > 1 else ""
        at = f", from step {self.step:,}" if self.step else ""
        return (
            f"{self.config['model']['name']}, {self.config['objective']['name']}:"
            f" {parameters:,} parameters, {trainer.strategy.root_device}{ranks}{at},"
            f" {self.run_dir}"
        )
