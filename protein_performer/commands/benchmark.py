"""Measure what this package and its peers take, on your machine.

Contestants take turns, so that a neighbour's load meets all alike; see docs/benchmark.md and
docs/benchmark_data.md.

  protein-performer benchmark attention --peers --json attention.json --plot attention.png
  protein-performer benchmark data --json data.json
"""

import argparse
import importlib
from pathlib import Path

SUBJECTS = {
    "attention": "time and memory of every mechanism against its length",
    "data": "speed and memory from FASTA.gz to batches",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One subcommand for each thing that can be measured."""
    subjects = parser.add_subparsers(dest="subject", required=True, metavar="WHAT")
    for subject, summary in SUBJECTS.items():
        module = importlib.import_module(f"protein_performer.benchmark.{subject}")
        command = subjects.add_parser(
            subject,
            help=summary,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.add_argument(
            "--json",
            type=Path,
            metavar="FILE",
            default=argparse.SUPPRESS,  # it may also stand before the subject
            help="write the figures there, too",
        )
        command.set_defaults(measure=module.run)


def run(args: argparse.Namespace) -> dict[str, object]:
    """Measure, print the tables, return the figures."""
    figures: dict[str, object] = args.measure(args)
    return figures
