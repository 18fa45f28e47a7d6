"""Measure attention: seconds and peak memory, forward and backward, against length.

Every mechanism runs once in each round, so that whatever slows the machine slows them all, and
ratios are taken within rounds. Memory is the growth of a fresh process. With --peers also the
libraries that one would otherwise use; they come with pip install "protein-performer[peers]".
The full set takes about ten minutes of an otherwise idle core; --quick tries it in seconds.

  python -m benchmarks.attention --peers --json attention.json --plot attention.png
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.attention import tables
from benchmarks.attention.accelerator import Cuda, accelerator_table, measure_accelerator
from benchmarks.attention.measure import Measured, measure
from benchmarks.attention.mechanisms import BOTH, MECHANISMS
from benchmarks.attention.parity import parities
from benchmarks.attention.peers import require_peers
from benchmarks.attention.picture import PICTURE_SUFFIXES, draw
from benchmarks.attention.sizes import OFFICIAL, QUICK, Sizes
from benchmarks.command import command_line, require_folder
from benchmarks.figures import figure_tables, machine_table, plain
from benchmarks.machine import load_average, machine, threads
from benchmarks.timing import spread
from protein_performer.errors import UserError
from protein_performer.reporting.tables import make_console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("--peers", action="store_true", help="run other libraries, too")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="cuda: FAVOR+ beside flash attention in bfloat16; see docs/benchmark.md",
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="of PyTorch; default: 1, the steadiest"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        help="these contestants, as the tables name them, and no training steps: minutes fewer",
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try it")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the curves (.png, .pdf, .svg)"
    )


def run(args: argparse.Namespace) -> dict[str, object]:
    """Measure, print the tables, return the figures."""
    _refuse(args)
    sizes = QUICK if args.quick else OFFICIAL
    if args.device == "cuda":
        return _on_gpu(args.rounds, sizes)
    facts = {**machine(), "threads": args.threads, "rounds": args.rounds, "quick": args.quick}
    with Console(stderr=True).status("preparing") as status, threads(args.threads):
        measured = measure(
            sizes,
            rounds=args.rounds,
            num_threads=args.threads,
            with_peers=args.peers,
            only=args.only,
            progress=status.update,
        )
        compared = parities(sizes) if args.peers and not args.only else []
    facts["load_average_after"] = load_average()
    rows = [] if args.only else tables.figures(measured, sizes)
    console = make_console()
    console.print(machine_table(facts))
    for direction in BOTH:
        console.print(tables.section_table(measured, direction))
    if rows:
        console.print(*figure_tables(rows), sep="\n")
    if compared:
        console.print(tables.parity_table(compared))
    if args.plot is not None:
        draw(measured, args.plot)
    return {
        "machine": facts,
        "cells": _cells(measured),
        "figures": [plain(row) for row in rows],
        "parity": [row._asdict() for row in compared],
    }


def _on_gpu(rounds: int, sizes: Sizes) -> dict[str, object]:
    meter = Cuda()
    facts = {**machine(), "gpu": torch.cuda.get_device_name(), "rounds": rounds}
    rows = measure_accelerator(meter, sizes, rounds)
    console = make_console()
    console.print(machine_table(facts))
    console.print(accelerator_table(rows))
    return {"machine": facts, "rows": rows}


def _refuse(args: argparse.Namespace) -> None:
    """Before minutes of measurement, not after them."""
    if min(args.rounds, args.threads) < 1:
        raise UserError(
            "expected --rounds and --threads of at least 1, got"
            f" --rounds {args.rounds} --threads {args.threads}"
        )
    unknown = sorted(set(args.only or ()) - MECHANISMS.keys())
    if unknown:
        raise UserError(
            f"--only: expected names among {', '.join(map(repr, MECHANISMS))}; got"
            f" {', '.join(map(repr, unknown))}"
        )
    if args.plot is not None:
        require_folder("--plot", args.plot)
        if args.plot.suffix not in PICTURE_SUFFIXES:
            expected = " or ".join(PICTURE_SUFFIXES)
            raise UserError(f"--plot {args.plot}: expected a name that ends in {expected}")
    if args.peers:
        require_peers()


def _cells(measured: Measured) -> list[dict[str, object]]:
    return [
        {
            **key._asdict(),
            **spread(seconds)._asdict(),
            "seconds": list(seconds),
            "peak_bytes": list(measured.peak_bytes.get(key, ())),
        }
        for key, seconds in measured.seconds.items()
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m benchmarks.attention`; the exit code."""
    return command_line("attention", __doc__, add_arguments, run, argv)


if __name__ == "__main__":
    sys.exit(main())
