"""Compare finished runs: accuracy, perplexity, cost.

Reads each run's metrics.json; the best test perplexity of each objective comes first. A run that
did not finish is listed with the reason. With --out the figures of all are published in one file,
of which `protein-performer document` makes tables.

  protein-performer compare logs/multiruns/2026-01-31_12-00-00/*
  protein-performer compare logs/multiruns/2026-01-31_12-00-00/* --out results/mine.json
"""

import argparse
from pathlib import Path

from protein_performer.errors import UserError
from protein_performer.reporting.results import write_result
from protein_performer.reporting.run_results import collect, sweep_command
from protein_performer.reporting.runs import Run, read_run
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
    parser.add_argument("--out", type=Path, metavar="FILE", help="publish the figures there (JSON)")


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
    if args.out is not None:
        _publish([read_run(path) for path in runs], args.out)
    finished = [path for path in runs if (path / METRICS_FILE).is_file()]
    return {str(path): dict(read_metrics(path)) for path in finished}


def _publish(runs: list[Run], path: Path) -> None:
    published = collect(runs)
    figures = [each["metrics"] for each in published["runs"]]
    write_result(
        path,
        published,
        command=sweep_command(runs),
        seed=sorted({int(each["seed"]) for each in figures}),
        seconds=sum(float(each["train/seconds"]) for each in figures),
    )
    print(f"{len(runs)} runs -> {path}")
