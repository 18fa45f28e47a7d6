"""`train.py` as a process: how it ends, what it says then, and what its folder says later."""

import logging
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from protein_performer.errors import UserError
from protein_performer.reporting.runs import CONFIG_FILE
from protein_performer.reporting.status import read_status
from protein_performer.reporting.tables import METRICS_FILE, Metrics, read_metrics
from protein_performer.training.building import build
from protein_performer.training.folder import public_config
from protein_performer.training.lightning import quiet_lightning
from protein_performer.training.resume import differences
from protein_performer.training.run import check_multirun
from protein_performer.training.signals import stop_at_once

log = logging.getLogger(__name__)


def command_line(main: Callable[[], Any]) -> None:
    """Run Hydra's `main`: a user's mistake is one message and exit code 1, a bug is a traceback."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us as they are
    try:
        main()
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
    except CompactHydraException as error:  # a config that cannot be composed
        sys.exit("\n".join(str(each) for each in (error, error.__cause__) if each))


def run_job(train: Callable[[DictConfig], Metrics], cfg: DictConfig) -> float:
    """One run as Hydra starts it; what a sweeper minimises.

    In a sweep, a run that cannot be is skipped and one that fails does not end the others: their
    folders say so, and `sweep.CompareRuns` prints it. One that finished before is not run again,
    and a broken one is resumed.
    """
    stop_at_once()
    if HydraConfig.get().mode != RunMode.MULTIRUN:
        try:
            return _target(train(cfg))
        except (UserError, OSError) as error:
            sys.exit(f"error: {error}")  # Hydra would print all overrides ahead of it
    quiet_lightning()
    cfg.group = Path(HydraConfig.get().sweep.dir).name
    check_multirun(build(cfg, "trainer", logger=False))
    finished = _finished_before(cfg)
    if finished is not None:
        return _target(finished)
    cfg.ckpt_path = cfg.ckpt_path or "auto"
    try:
        return _target(train(cfg))
    except Exception as error:
        ended = read_status(Path(cfg.run_dir))
        if ended is None or ended.state not in ("failed", "skipped"):
            raise  # the folder is another run's: the sweep is not what its user thinks
        if isinstance(error, UserError):
            log.error("%s: %s", cfg.run_dir, error)
        else:
            log.exception("%s: the sweep goes on without this run", cfg.run_dir)
        return math.nan


def _target(metrics: Metrics) -> float:
    return float(metrics["val/perplexity"])


def _finished_before(cfg: DictConfig) -> Metrics | None:
    """The results of the run of this config that the folder holds, if it came to its end."""
    run_dir = Path(cfg.run_dir)
    status = read_status(run_dir)
    if status is None or status.state != "finished" or not (run_dir / METRICS_FILE).is_file():
        return None
    before: Any = OmegaConf.to_container(OmegaConf.load(run_dir / CONFIG_FILE))
    now = public_config(OmegaConf.to_container(cfg, resolve=True))
    if any(each.changes_results for each in differences(before, now)):
        return None
    log.info("%s: finished before, not run again", run_dir)
    return read_metrics(run_dir)
