"""Measure generation: seconds for one more residue, after few residues and after many.

FAVOR+ goes on from sums of constant size, exact attention from the keys and values of all earlier
residues. Models have the default size and random weights; one protein at a time.

  python -m benchmarks.generation --json generation.json
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from benchmarks.command import command_line
from benchmarks.machine import machine, threads
from benchmarks.timing import Cell, Key, interleave, spread
from protein_performer.model.build import build_model
from protein_performer.model.config import ModelConfig
from protein_performer.model.transformer import ProteinTransformer
from protein_performer.reporting.tables import make_console

FAVOR = "protein_performer.attention.favor.favor.Favor"
MECHANISMS: dict[str, dict[str, Any]] = {
    "performer_softmax": {"_target_": FAVOR, "feature_map": "softmax", "num_features": 64},
    "performer_relu": {"_target_": FAVOR, "feature_map": "relu", "num_features": 64},
    "transformer": {"_target_": "protein_performer.attention.softmax.Softmax"},
}
SMALL = {"d_model": 128, "num_layers": 2, "num_heads": 4, "d_ff": 512, "convolution": 5}
VOCABULARY = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument(
        "--lengths", type=int, nargs="+", default=[100, 1_000, 20_000], help="residues before"
    )
    parser.add_argument("--residues", type=int, default=50, help="of one timing")
    parser.add_argument("--rounds", type=int, default=9)


def run(args: argparse.Namespace) -> dict[str, object]:
    """Measure, print the table, return the figures."""
    networks = {name: _network(attention) for name, attention in MECHANISMS.items()}
    cells, sizes = [], {}
    for length in args.lengths:
        for name, network in networks.items():
            state = _state(network, length)
            sizes[name, length] = sum(x.numel() * x.element_size() for x in _tensors(state))
            cells.append(
                Cell(Key("generation", name, length), _steps(network, state, args.residues))
            )
    with threads(1):
        seconds = interleave(cells, args.rounds)
    rows = []
    for key, samples in seconds.items():
        each = spread([sample / args.residues for sample in samples])
        rows.append(
            {
                "model": key.name,
                "residues_before": key.length,
                "milliseconds": 1e3 * each.median,
                "lowest": 1e3 * each.low,
                "highest": 1e3 * each.high,
                "state_megabytes": sizes[key.name, key.length] / 1e6,
            }
        )
    make_console().print(_table(rows))
    return {"machine": machine(), "rows": rows}


def _network(attention: dict[str, Any]) -> ProteinTransformer:
    torch.manual_seed(0)
    plain = {"attention": attention, "causal": True, **SMALL}
    return build_model(ModelConfig.from_plain(plain), VOCABULARY).eval()


@torch.inference_mode()
def _state(network: ProteinTransformer, length: int) -> Any:
    """After that many residues, read at once."""
    return network.step(_residues(length), network.init_state(1))[1]


def _steps(
    network: ProteinTransformer, state: Any, residues: int
) -> Callable[[], Callable[[], object]]:
    tokens = _residues(residues)

    @torch.inference_mode()
    def step() -> None:
        present = state
        for token in torch.split(tokens, 1, dim=1):
            _, present = network.step(token, present)

    def prepare() -> Callable[[], object]:
        step()
        return step

    return prepare


def _residues(number: int) -> Tensor:
    return torch.randint(4, 24, (1, number), generator=torch.Generator().manual_seed(0))


def _tensors(state: Any) -> list[Tensor]:
    if isinstance(state, Tensor):
        return [state]
    return [x for each in state for x in _tensors(each)] if isinstance(state, tuple) else []


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(title="one more residue")
    for column in ("residues before", "model", "ms", "low - high", "state, MB"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for row in rows:
        table.add_row(
            f"{row['residues_before']:,}",
            row["model"],
            f"{row['milliseconds']:.2f}",
            f"{row['lowest']:.2f} - {row['highest']:.2f}",
            f"{row['state_megabytes']:.3f}",
        )
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    return command_line("generation", __doc__, add_arguments, run, argv)


if __name__ == "__main__":
    sys.exit(main())
