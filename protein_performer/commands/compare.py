"""Compare finished runs: accuracy, perplexity, cost.

Reads each run's metrics.json; the best test perplexity of each objective comes first.

  protein-performer compare logs/multiruns/2026-01-31_12-00-00/*
"""

import argparse
from pathlib import Path

from protein_performer.errors import UserError
from protein_performer.reporting.tables import (
    METRICS_FILE,
    comparison_table,
    make_console,
    read_metrics,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a run")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Do it, print what was done, return the figures."""
    finished = [path for path in args.runs if (path / METRICS_FILE).is_file()]
    if not finished:
        raise UserError(
            f"expected folders with a {METRICS_FILE}, got {', '.join(map(str, args.runs))}"
        )
    console = make_console()
    console.print(comparison_table(finished))
    for path in args.runs:
        if path.is_dir() and path not in finished:
            console.print(f"left out, no {METRICS_FILE}: {path}")
    return {str(path): dict(read_metrics(path)) for path in finished}
