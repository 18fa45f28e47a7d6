"""A run's folder, read back: what it was, how it ended, its results and its curves."""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import yaml

from protein_performer.errors import UserError
from protein_performer.files import replacing
from protein_performer.reporting.status import STATUS_FILE, Status, read_status
from protein_performer.reporting.tables import METRICS_FILE, Metrics, is_run, read_metrics

CONFIG_FILE, CURVES_FILE, LETTERS_FILE = "config.yaml", "metrics.csv", "letters.json"

_NOT_SETTINGS = ("model", "objective", "seed", "ckpt_path")

# Two-sided 95 % quantiles of Student's t for 1 to 9 degrees of freedom; beyond, the normal's.
_T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
_NORMAL_95 = 1.960


@dataclass(frozen=True)
class Run:
    """A folder that `train.py` wrote; of an unfinished run some is missing."""

    folder: Path
    config: Mapping[str, Any]
    status: Status | None
    metrics: Metrics | None

    @property
    def state(self) -> str:
        """See `Status`; of a run of before there was any: whether it has results."""
        if self.status is not None:
            return self.status.state
        return "finished" if self.metrics else "unknown"

    @property
    def chosen(self) -> dict[str, str]:
        """The overrides on its command line, by key."""
        pairs = (each.partition("=") for each in (self.status.overrides if self.status else ()))
        return {key.lstrip("+"): value for key, _, value in pairs}

    def named(self, key: str) -> str:
        """The `name` of a group of the config."""
        name = self.config.get(key, {}).get("name")
        return str(name if name is not None else self.chosen.get(key, ""))

    @property
    def command(self) -> str:
        """What starts the same run again."""
        words = self.status.overrides if self.status else ()
        return " ".join(["python train.py", *words])

    @cached_property
    def _rows(self) -> list[dict[str, str]]:
        path = self.folder / CURVES_FILE
        if not path.is_file():
            return []
        return list(csv.DictReader(path.read_text().splitlines()))

    def curve(self, name: str) -> list[tuple[int, float]]:
        """(step, value) of all that was logged under a name, in the order of steps."""
        found = [(int(row["step"]), float(row[name])) for row in self._rows if row.get(name)]
        return sorted(found)

    def training_curve(self, name: str) -> list[tuple[int, float]]:
        """`curve` up to the last step of training: behind it the best checkpoint is looked at."""
        last = float(self.metrics["train/steps"]) if self.metrics else math.inf
        return [(step, value) for step, value in self.curve(name) if step < last]

    @cached_property
    def letters(self) -> dict[str, dict[str, tuple[int, int]]]:
        """Test set -> letter -> (times it was asked for, times it was right)."""
        path = self.folder / LETTERS_FILE
        found: dict[str, dict[str, tuple[int, int]]] = (
            json.loads(path.read_text()) if path.is_file() else {}
        )
        return found


class Interval(NamedTuple):
    """A mean over seeds, and the half width of its 95 % interval; NaN for a single seed."""

    mean: float
    half_width: float

    def __str__(self) -> str:
        width = "" if math.isnan(self.half_width) else f" ± {self.half_width:.2g}"
        return f"{self.mean:.3f}{width}"


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed only.

    Attributes:
        runs: one for each seed.
        setting: `key=value` of the overrides in which these differ from other groups, but for model
            and objective.
    """

    runs: Sequence[Run]
    setting: Sequence[str]

    @property
    def model(self) -> str:
        """The model's name; of a run that never began, as it was asked for."""
        return self.runs[0].named("model")

    @property
    def objective(self) -> str:
        """The objective's name."""
        return self.runs[0].named("objective")

    @property
    def label(self) -> str:
        """Model, objective, and what else sets these runs apart."""
        return ", ".join([self.model, self.objective, *self.setting])

    def interval(self, name: str) -> Interval | None:
        """Of a result; None where no run has it."""
        values = [
            float(run.metrics[name]) for run in self.runs if run.metrics and name in run.metrics
        ]
        if not values:
            return None
        if len(values) == 1:
            return Interval(values[0], math.nan)
        freedom = len(values) - 1
        quantile = _T_95[freedom - 1] if freedom <= len(_T_95) else _NORMAL_95
        return Interval(mean(values), quantile * stdev(values) / math.sqrt(len(values)))


def read_runs(folders: Iterable[Path]) -> list[Run]:
    """The runs in these folders, and in folders directly in them (a sweep's).

    Raises: UserError where there is none.
    """
    folders = list(folders)
    found = [path for folder in folders for path in _run_folders(folder)]
    if not found:
        raise UserError(
            f"{', '.join(map(str, folders))}: expected folders of runs, or of a sweep, found none"
            f" with a {STATUS_FILE} or a {METRICS_FILE}"
        )
    return [read_run(folder) for folder in dict.fromkeys(found)]


def write_letters(run_dir: Path, letters: Mapping[str, Any]) -> None:
    """Write a run's `letters.json`; see `Run.letters`."""
    with replacing(run_dir / LETTERS_FILE) as partial:
        partial.write_text(json.dumps(letters) + "\n")


def group_runs(runs: Iterable[Run]) -> list[Group]:
    """Runs that differ in their seed only, together; in the order in which they were found."""
    runs = list(runs)
    keys = {key: None for run in runs for key in run.chosen if key not in _NOT_SETTINGS}
    differing = [key for key in keys if len({run.chosen.get(key) for run in runs}) > 1]
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        setting = (f"{key}={run.chosen[key]}" for key in differing if key in run.chosen)
        groups.setdefault((run.named("model"), run.named("objective"), *setting), []).append(run)
    return [Group(members, setting) for (_, _, *setting), members in groups.items()]


def config_differences(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Key of the config -> its value in each run, for those in which runs differ."""
    flat = [dict(_fields(run.config)) for run in runs]
    keys = {key: None for each in flat for key in each}
    found = {key: [each.get(key) for each in flat] for key in keys}
    return {key: values for key, values in found.items() if any(v != values[0] for v in values)}


def _run_folders(folder: Path) -> Iterator[Path]:
    yield from filter(is_run, (folder, *sorted(folder.glob("*/"))))


def read_run(folder: Path) -> Run:
    """The run in a folder, as far as it came."""
    path = folder / CONFIG_FILE
    config = yaml.safe_load(path.read_text()) if path.is_file() else {}
    metrics = read_metrics(folder) if (folder / METRICS_FILE).is_file() else None
    return Run(folder, config or {}, read_status(folder), metrics)


def _fields(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(config, Mapping) and config:
        for key, value in config.items():
            yield from _fields(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, config
