"""Measure a claim of the Performer paper that needs no training.

Writes NAME.json, with the command, commit, seed, machine and seconds, and the picture NAME.png.
Claims about training are configs: python train.py experiment=NAME.

  protein-performer experiment approximation --out results
"""

import argparse
import importlib
import time
from pathlib import Path
from pkgutil import iter_modules

from protein_performer import experiments
from protein_performer.reporting.results import write_result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("name", choices=_names(), help="what to measure")
    parser.add_argument(
        "--out", type=Path, default=Path("results"), help="folder (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="few draws: to try the command out")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Do it, print what was done, return the figures."""
    experiment = importlib.import_module(f"{experiments.__name__}.{args.name}")
    start = time.perf_counter()
    measured: dict[str, object] = experiment.run(seed=args.seed, quick=args.quick)
    seconds = time.perf_counter() - start
    args.out.mkdir(parents=True, exist_ok=True)
    command = f"protein-performer experiment {args.name} --seed {args.seed}"
    path = args.out / f"{args.name}.json"
    write_result(
        path,
        measured,
        command=command + (" --quick" if args.quick else ""),
        seed=args.seed,
        seconds=seconds,
    )
    experiment.figure(measured).savefig(path.with_suffix(".png"), dpi=100)
    for line in experiment.findings(measured):
        print(line)
    print(f"{seconds:.0f} s -> {path}, {path.with_suffix('.png')}")
    return measured


def _names() -> list[str]:
    return [module.name for module in iter_modules(experiments.__path__) if not module.ispkg]
