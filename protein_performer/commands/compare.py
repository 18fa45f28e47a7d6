"""Compare finished runs: accuracy, perplexity, cost.

Reads each run's metrics.json; the best test perplexity of each objective comes first. A run that
did not finish is listed with the reason.

  protein-performer compare logs/multiruns/2026-01-31_12-00-00/*
"""

import argparse
from pathlib import Path

from protein_performer.errors import UserError
from protein_performer.reporting.tables import (
    METRICS_FILE,
    comparison_table,
    is_run,
    make_console,
    read_metrics,
    unfinished_lines,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a run")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Do it, print what was done, return the figures."""
    runs = [path for path in args.runs if is_run(path)]
    if not runs:
        raise UserError(
            f"expected folders with a {METRICS_FILE}, got {', '.join(map(str, args.runs))}"
        )
    console = make_console()
    console.print(comparison_table(runs))
    for line in unfinished_lines(runs):
        console.print(line, soft_wrap=True, markup=False)
    for path in args.runs:
        if path.is_dir() and path not in runs:
            console.print(f"left out, no {METRICS_FILE}: {path}")
    finished = [path for path in runs if (path / METRICS_FILE).is_file()]
    return {str(path): dict(read_metrics(path)) for path in finished}
