"""Measure attention: seconds and peak memory, forward and backward, against length.

Every contestant runs once in each round, so that whatever slows the machine slows them all, and
ratios are taken within rounds. Memory is the growth of a fresh process. With --peers also the
libraries that one would otherwise use; they come with pip install "protein-performer[peers]".
The full set takes about ten minutes of an otherwise idle core; --quick tries it in seconds.

  protein-performer benchmark attention --peers --json attention.json --plot attention.png
"""

import argparse
from pathlib import Path

from rich.console import Console

from protein_performer.benchmark import tables
from protein_performer.benchmark.contestants import BOTH
from protein_performer.benchmark.machine import load_average, machine, threads
from protein_performer.benchmark.measure import measure
from protein_performer.benchmark.parity import Parity, parity
from protein_performer.benchmark.peers import COMPILED_PRODUCT, is_importable, require_peers
from protein_performer.benchmark.picture import PICTURE_SUFFIXES, draw
from protein_performer.benchmark.sizes import OFFICIAL, QUICK, Sizes
from protein_performer.benchmark.targets import Measured, Target, plain, targets
from protein_performer.benchmark.timing import spread
from protein_performer.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `benchmark attention`."""
    parser.add_argument("--peers", action="store_true", help="run other libraries, too")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument(
        "--threads", type=int, default=1, help="of PyTorch; default: 1, the steadiest"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try it: no verdicts")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the curves (.png, .pdf, .svg)"
    )


def run(args: argparse.Namespace) -> dict[str, object]:
    """Measure, print the tables, return the figures."""
    _refuse(args)
    sizes = QUICK if args.quick else OFFICIAL
    facts = {**machine(), "threads": args.threads, "rounds": args.rounds, "quick": args.quick}
    parities: list[Parity] = []
    with Console(stderr=True).status("preparing") as status, threads(args.threads):
        measured = measure(
            sizes,
            rounds=args.rounds,
            num_threads=args.threads,
            with_peers=args.peers,
            progress=status.update,
        )
        if args.peers:
            parities = _parities(sizes)
    facts["load_average_after"] = load_average()
    rows = targets(measured, sizes)
    _print(facts, measured, sizes.long, [] if args.quick else rows, parities)
    if args.plot is not None:
        draw(measured, args.plot)
    return _figures(facts, measured, rows, parities)


def _parities(sizes: Sizes) -> list[Parity]:
    rows = []
    for kernel in ("relu", "softmax"):
        rows += [parity(kernel, direction == "causal", sizes) for direction in BOTH]
        if is_importable(COMPILED_PRODUCT):
            rows.append(parity(kernel, True, sizes, compiled=True))
    return rows


def _refuse(args: argparse.Namespace) -> None:
    """Before minutes of measurement, not after them."""
    if min(args.rounds, args.threads) < 1:
        raise UserError(
            "expected --rounds and --threads of at least 1, got"
            f" --rounds {args.rounds} --threads {args.threads}"
        )
    for option, path in (("--json", args.json), ("--plot", args.plot)):
        if path is not None and not path.parent.is_dir():
            raise UserError(f"{option} {path}: expected an existing folder, got {path.parent}")
    if args.plot is not None and args.plot.suffix not in PICTURE_SUFFIXES:
        raise UserError(
            f"--plot {args.plot}: expected a name that ends in {' or '.join(PICTURE_SUFFIXES)}"
        )
    if args.peers:
        require_peers()


def _print(
    facts: dict[str, object],
    measured: Measured,
    step_tokens: int,
    rows: list[Target],
    parities: list[Parity],
) -> None:
    console = Console()
    console.print(tables.machine_table(facts))
    for direction in BOTH:
        console.print(tables.section_table(measured, direction))
    console.print(tables.step_table(measured, step_tokens))
    if rows:
        console.print(tables.target_table(rows))
    if parities:
        console.print(tables.parity_table(parities))


def _figures(
    facts: dict[str, object], measured: Measured, rows: list[Target], parities: list[Parity]
) -> dict[str, object]:
    """Everything, in plain types."""
    return {
        "machine": facts,
        "cells": [
            {
                **key._asdict(),
                **spread(seconds)._asdict(),
                "seconds": list(seconds),
                "peak_bytes": list(measured.peak_bytes.get(key, ())),
            }
            for key, seconds in measured.seconds.items()
        ],
        "targets": [plain(row) for row in rows],
        "parity": [row._asdict() for row in parities],
    }
