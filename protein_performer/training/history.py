"""A run's curves: one `metrics.csv`, also of a run that was resumed, however often."""

import csv
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.loggers.logger import rank_zero_experiment
from pytorch_lightning.utilities import rank_zero_only
from typing_extensions import override

from protein_performer.files import replacing
from protein_performer.reporting.runs import CURVES_FILE


class History(CSVLogger):
    """A `CSVLogger` that goes on with the `metrics.csv` of its folder; Lightning's deletes it.

    Args:
        save_dir: the run's folder.
        flush_logs_every_n_steps: steps whose rows are kept in memory, at most.
    """

    def __init__(self, save_dir: str, flush_logs_every_n_steps: int = 100) -> None:
        super().__init__(
            save_dir, name="", version="", flush_logs_every_n_steps=flush_logs_every_n_steps
        )
        self._curves = Path(save_dir) / CURVES_FILE

    @rank_zero_only
    def begin_at(self, step: int) -> None:
        """Drop what lies behind: steps from `step` on, which will be taken again.

        Also a last row that a killed process left incomplete.
        """
        if self._curves.is_file():
            kept = [row for row in _read(self._curves) if int(row["step"]) < step]
            _write(self._curves, kept)

    @property
    @override
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            self._experiment = _Appending(self.save_dir)
        return self._experiment

    @override
    def log_hyperparams(self, params: Any = None) -> None:
        """Nothing: `config.yaml` has them."""


class _Appending(ExperimentWriter):
    """Lightning's writer of rows, but that it appends; for a new column it replaces the file."""

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self.metrics_keys = _columns(Path(self.metrics_file_path))

    @override
    def _check_log_dir_exists(self) -> None:
        """Nothing: what is there stays."""

    @override
    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        path = Path(self.metrics_file_path)
        _write(path, _read(path), fieldnames)


def _columns(path: Path) -> list[str]:
    if not path.is_file():
        return []
    with open(path, newline="") as file:
        return next(csv.reader(file), [])


def _read(path: Path) -> list[dict[str, str]]:
    # A killed process may have left a last line without its end.
    whole = path.read_text().rpartition("\n")[0]
    return list(csv.DictReader(whole.splitlines()))


def _write(path: Path, rows: list[dict[str, str]], columns: list[str] | None = None) -> None:
    with replacing(path) as partial, open(partial, "w", newline="") as file:
        writer = csv.DictWriter(file, columns or _columns(path))
        writer.writeheader()
        writer.writerows(rows)
