"""What a run's numbers look like to a person: tables, and where they are kept.

A run's folder holds `metrics.json`, one flat mapping from names such as `test/perplexity` to
numbers. Tables are made from those files alone, so any run can be compared with any other.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from protein_performer.errors import UserError
from protein_performer.files import replacing
from protein_performer.reporting.status import STATUS_FILE, Status, read_status

Metrics = Mapping[str, float | int | str]

METRICS_FILE = "metrics.json"
_TEST_SETS = {"test": "test", "ood": "OOD"}


def make_console() -> Console:
    """A console for tables: as wide as the terminal, and wide enough where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=200)


def write_metrics(run_dir: Path, metrics: Metrics) -> Path:
    """Write a run's `metrics.json`, keys sorted."""
    path = run_dir / METRICS_FILE
    with replacing(path) as partial:
        partial.write_text(
            json.dumps(dict(sorted(metrics.items())), indent=2, allow_nan=False) + "\n"
        )
    return path


def read_metrics(run_dir: Path) -> Metrics:
    """Read a run's `metrics.json`. Raises UserError where there is none."""
    path = run_dir / METRICS_FILE
    if not path.is_file():
        raise UserError(f"{path}: expected the metrics of a finished run, found no such file")
    metrics: Metrics = json.loads(path.read_text())
    return metrics


def is_run(folder: Path) -> bool:
    """Whether a run was here, finished or not."""
    return (folder / METRICS_FILE).is_file() or (folder / STATUS_FILE).is_file()


def results_table(metrics: Metrics) -> Table:
    """One run beside its baselines: accuracy and perplexity on each of its test sets."""
    table = Table(title=f"{metrics['model/name']}, {metrics['objective']}")
    table.add_column("", no_wrap=True)
    tested = [name for name in _TEST_SETS if f"{name}/accuracy" in metrics]
    of_bytes = "test/bits_per_byte" in metrics
    for title in map(_TEST_SETS.__getitem__, tested):
        table.add_column(f"{title} acc.", justify="right")
        table.add_column(f"{title} ppl.", justify="right")
        table.add_column("/ baseline", justify="right")
        if of_bytes:
            table.add_column("bits/byte", justify="right")
    rows = {"empirical baseline": "empirical_"}
    if "test/ngram_perplexity" in metrics:  # runs of earlier versions have none
        rows["best n-gram"] = "ngram_"
    rows[str(metrics["model/name"])] = ""
    for row, prefix in rows.items():
        cells = []
        for name in tested:
            cells.append(f"{100 * float(metrics[f'{name}/{prefix}accuracy']):.2f} %")
            perplexity = float(metrics[f"{name}/{prefix}perplexity"])
            cells.append(f"{perplexity:.3f}")
            cells.append(f"{perplexity / float(metrics[f'{name}/empirical_perplexity']):.3f}")
            if of_bytes:
                cells.append(f"{math.log2(perplexity):.3f}")
        table.add_row(row, *cells)
    return table


def comparison_table(run_dirs: Iterable[Path]) -> Table:
    """Many runs in one table: best test perplexity of each objective first, unfinished ones last.

    Beside the figures the overrides in which the runs differ, and why a run has no figures.
    """
    runs = [(path, _metrics_or_none(path), read_status(path)) for path in run_dirs]
    runs.sort(key=lambda run: _rank(run[1]))
    swept = _swept([status for *_, status in runs if status is not None])
    table = Table(title=f"{len(runs)} runs")
    for column in ("model", "objective", "seed", *swept):
        table.add_column(column, no_wrap=True)
    for title in _TEST_SETS.values():
        table.add_column(f"{title} acc.", justify="right")
        table.add_column(f"{title} ppl.", justify="right")
        table.add_column("/ base", justify="right")
    units = {
        "bytes" if "train/bytes" in metrics else "residues" for _, metrics, _ in runs if metrics
    }
    for column in ("parameters", "steps", "seconds", f"{' or '.join(sorted(units))}/s"):
        table.add_column(column, justify="right")
    table.add_column("folder", overflow="fold")
    for run_dir, metrics, status in runs:
        chosen = _overrides(status)
        row = _comparison_row(metrics) if metrics else _row_without_metrics(chosen, status)
        table.add_row(*row[:3], *(chosen.get(key, "") for key in swept), *row[3:], run_dir.name)
    return table


def unfinished_lines(run_dirs: Iterable[Path]) -> Iterator[str]:
    """Each run that has no figures, and why."""
    for run_dir in run_dirs:
        status = read_status(run_dir)
        if status is not None and status.state != "finished":
            yield f"{run_dir.name}: {status.state}. {status.reason}".rstrip(". ")


def _metrics_or_none(run_dir: Path) -> Metrics | None:
    return read_metrics(run_dir) if (run_dir / METRICS_FILE).is_file() else None


def _rank(metrics: Metrics | None) -> tuple[bool, str, float]:
    if metrics is None:
        return True, "", 0.0
    return False, str(metrics["objective"]), float(metrics["test/perplexity"])


def _overrides(status: Status | None) -> dict[str, str]:
    pairs = [each.partition("=") for each in (status.overrides if status else ())]
    return {key.lstrip("+"): value for key, _, value in pairs}


def _swept(found: Sequence[Status]) -> list[str]:
    """The overrides in which runs differ, but for those that have a column of their own."""
    chosen = [_overrides(status) for status in found]
    keys = {key: None for each in chosen for key in each}  # in their order
    differing = [key for key in keys if len({each.get(key) for each in chosen}) > 1]
    return [key for key in differing if key not in ("model", "objective", "seed")]


def _row_without_metrics(chosen: Mapping[str, str], status: Status | None) -> list[str]:
    state = status.state if status else "no status"
    names = [chosen.get(key, "") for key in ("model", "objective", "seed")]
    return [*names, state, *["-"] * (3 * len(_TEST_SETS) + 3)]


def _comparison_row(metrics: Metrics) -> list[str]:
    cells = [str(metrics["model/name"]), str(metrics["objective"]), str(metrics["seed"])]
    for name in _TEST_SETS:
        if f"{name}/perplexity" not in metrics:  # nothing was held out
            cells += ["-"] * 3
            continue
        perplexity = float(metrics[f"{name}/perplexity"])
        cells.append(f"{100 * float(metrics[f'{name}/accuracy']):.2f} %")
        cells.append(f"{perplexity:.3f}")
        cells.append(f"{perplexity / float(metrics[f'{name}/empirical_perplexity']):.3f}")
    seconds = float(metrics["train/seconds"])
    cells.append(f"{int(metrics['model/parameters']):,}")
    cells.append(f"{int(metrics['train/steps']):,}")
    cells.append(f"{seconds:.0f}")
    letters = float(metrics["train/bytes" if "train/bytes" in metrics else "train/residues"])
    cells.append(f"{letters / max(seconds, 1e-9):,.0f}")
    return cells
