"""Measure data: from FASTA.gz to shards, to batches, to a training step, on your machine.

Large files are made from real proteins by mutation. Whatever is timed takes turns with its rivals,
each in a fresh process on as many cores as are named; memory is that of whole processes. Takes some
seven minutes of two otherwise idle cores and 10 GB of disk; --quick tries it in a minute. With
pip install "protein-performer[fast]" everything is measured with and without isal.

  python -m benchmarks.data --json data.json
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console

from benchmarks.command import command_line
from benchmarks.data.measure import QUICK, DataSizes, Measurement
from benchmarks.figures import figure_tables, machine_table, plain
from benchmarks.machine import load_average, machine
from protein_performer.data.reading.sources import expand
from protein_performer.errors import UserError
from protein_performer.reporting.tables import make_console

_SAMPLE = Path("data/trembl_sample.fasta.gz")
_DISK_PER_TEXT = 1.8  # bytes on disk for a byte of the large source: compressed, and prepared
_DISK = 3e9  # bytes for everything else


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument(
        "--source",
        nargs="+",
        default=[str(_SAMPLE)],
        metavar="FASTA",
        help="real proteins to make large files from (default: %(default)s)",
    )
    parser.add_argument(
        "--gigabytes", type=float, default=5.0, help="of the large source (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument(
        "--folder",
        type=Path,
        help="for the sources that are made, which stay there for another time (default: a"
        " temporary one)",
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try it")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Measure, print the tables, return the figures."""
    sizes = QUICK if args.quick else DataSizes(large=1000 * args.gigabytes)
    facts = {**machine(), "rounds": args.rounds, "quick": args.quick}
    with tempfile.TemporaryDirectory() if args.folder is None else nullcontext(args.folder) as name:
        folder = Path(name)
        _refuse(args, sizes, folder)
        figures = Measurement(folder, sizes, args.rounds, _progress()).run(args.source)
    facts["load_average_after"] = load_average()
    make_console().print(machine_table(facts), *figure_tables(figures), sep="\n")
    return {"machine": facts, "figures": [plain(figure) for figure in figures]}


def _progress() -> Callable[[str], None]:
    """A line for whatever begins, with the seconds since the start."""
    console, start = Console(stderr=True, highlight=False), time.monotonic()
    return lambda text: console.print(f"{time.monotonic() - start:5.0f} s  {text}")


def _refuse(args: argparse.Namespace, sizes: DataSizes, folder: Path) -> None:
    """Before minutes of measurement, not after them."""
    if args.rounds < 1 or args.gigabytes <= 0:
        raise UserError(
            "expected --rounds of at least 1 and --gigabytes above 0, got"
            f" --rounds {args.rounds} --gigabytes {args.gigabytes:g}"
        )
    if not folder.is_dir():
        raise UserError(f"--folder {folder}: expected an existing folder")
    expand(args.source)
    needed = 0 if args.quick else _DISK + _DISK_PER_TEXT * 1e6 * sizes.large
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder}: expected {needed / 1e9:.1f} GB of free disk, there are {free / 1e9:.1f}."
            " Name another --folder, or fewer --gigabytes."
        )


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m benchmarks.data`; the exit code."""
    return command_line("data", __doc__, add_arguments, run, argv)


if __name__ == "__main__":
    sys.exit(main())
