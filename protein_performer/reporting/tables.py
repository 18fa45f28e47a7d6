"""What a run's numbers look like to a person: tables, and where they are kept.

A run's folder holds `metrics.json`, one flat mapping from names such as `test/perplexity` to
numbers. Tables are made from those files alone, so any run can be compared with any other.
"""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from protein_performer.errors import UserError
from protein_performer.files import replacing

Metrics = Mapping[str, float | int | str]

METRICS_FILE = "metrics.json"
_TEST_SETS = {"test": "test", "ood": "OOD"}


def make_console() -> Console:
    """A console for tables: as wide as the terminal, and wide enough where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=160)


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


def results_table(metrics: Metrics) -> Table:
    """One run beside the empirical baseline: accuracy and perplexity on each of its test sets."""
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
    for row, prefix in (("empirical baseline", "empirical_"), (str(metrics["model/name"]), "")):
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
    """Many runs in one table, best test perplexity of each objective first."""
    runs = [(run_dir, read_metrics(run_dir)) for run_dir in run_dirs]
    runs.sort(key=lambda run: (str(run[1]["objective"]), float(run[1]["test/perplexity"])))
    table = Table(title=f"{len(runs)} runs")
    for column in ("model", "objective", "seed"):
        table.add_column(column)
    for title in _TEST_SETS.values():
        table.add_column(f"{title} acc.", justify="right")
        table.add_column(f"{title} ppl.", justify="right")
        table.add_column("/ baseline", justify="right")
    units = {"bytes" if "train/bytes" in metrics else "residues" for _, metrics in runs}
    for column in ("parameters", "steps", "seconds", f"{' or '.join(sorted(units))}/s"):
        table.add_column(column, justify="right")
    for _, metrics in runs:
        table.add_row(*_comparison_row(metrics))
    return table


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
