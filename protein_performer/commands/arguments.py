"""What verbs share: the arguments for checkpoint, source and device, each declared once."""

import argparse
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from rich.console import Console

from protein_performer.alphabet import ResiduePolicy

if TYPE_CHECKING:
    from protein_performer.inference.trained_model import TrainedModel

STANDARD_INPUT = "/dev/stdin"


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """The checkpoint, and how to compute with it; `load_model` takes all of these."""
    parser.add_argument(
        "checkpoint", type=Path, help="a run's best.ckpt or last.ckpt, or the run's folder"
    )
    group = parser.add_argument_group("the model")
    group.add_argument("--device", help="such as cpu or cuda:0; default: a GPU if there is one")
    group.add_argument(
        "--precision",
        choices=("float32", "bf16"),
        default="float32",
        help="of products (default: %(default)s)",
    )
    group.add_argument(
        "--batch-tokens",
        type=positive,
        metavar="N",
        help="places of a batch; fewer take less memory (default: 8192)",
    )
    group.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="a package of yours whose code the checkpoint may name; its code is run",
    )


def load_model(args: argparse.Namespace) -> "TrainedModel":
    """The model that the arguments of `add_checkpoint` ask for."""
    from protein_performer.inference.trained_model import load

    model = load(
        args.checkpoint,
        device=args.device,
        precision=args.precision,
        trusted_packages=args.trust,
    )
    model.batch_tokens = args.batch_tokens or model.batch_tokens
    return model


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Files of proteins, as `args.sources`, and how they are read."""
    parser.add_argument(
        "sources",
        type=_source,
        nargs="+",
        metavar="SOURCE",
        help="FASTA or flat files, plain or gzip, quoted globs or addresses; - for standard input",
    )
    parser.add_argument(
        "--residue-policy",
        choices=get_args(ResiduePolicy),
        help="of characters that are no residues (default: as in training)",
    )


def add_layers(parser: argparse.ArgumentParser) -> None:
    """Layers whose states are taken, as `args.layers`."""
    # argparse knows -1 for a value, and takes -1,-2 for an option unless its pattern allows commas.
    parser._negative_number_matcher = re.compile(r"^-\d[\d,-]*$")
    parser.add_argument(
        "--layers",
        type=_layers,
        default=(-1,),
        metavar="I,J",
        help="0 is the embedding of tokens, i what leaves block i, -1 the last (default: -1)",
    )


def positive(text: str) -> int:
    """A whole number of at least 1, for `type=`."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def warn(warnings: Iterable[str]) -> None:
    """Print warnings where errors go, so that what a verb prints can be piped on."""
    console = Console(stderr=True)
    for warning in warnings:
        console.print(f"warning: {warning}", style="yellow", highlight=False, soft_wrap=True)


def _source(text: str) -> str:
    return STANDARD_INPUT if text == "-" else text


def _layers(text: str) -> tuple[int, ...]:
    return tuple(int(each) for each in text.split(","))
