"""Residues per second of embedding, beside Hugging Face's EsmModel of equal size.

Both have random weights, rotary positions and the same widths; the peer runs PyTorch's fused exact
attention. A batch holds as many sequences of one length as its tokens allow, at least one. Each
precision is measured against the peer in the same precision, round by round. The peer comes with
pip install "protein-performer[peers]"; --quick tries it in seconds.

  python -m benchmarks.inference --json inference.json
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.command import command_line
from benchmarks.machine import load_average, machine, threads
from benchmarks.timing import Cell, Key, Step, interleave, ratios, spread
from protein_performer.alphabet import Alphabet
from protein_performer.attention.favor.favor import Favor
from protein_performer.errors import UserError
from protein_performer.model.config import TrunkConfig
from protein_performer.model.transformer import ProteinTransformer
from protein_performer.reporting.tables import make_console

PEER = "EsmModel"
KERNELS = ("relu", "softmax")
PRECISIONS = ("float32", "bf16")
_ONE_ROUND_FROM = 16384  # residues: the peer takes minutes there


@dataclass(frozen=True)
class Sizes:
    """Widths of both models, and what they read."""

    lengths: tuple[int, ...] = (512, 1024, 2048, 8192, 34_350)  # residues; titin has 34,350
    batch_tokens: int = 8192
    width: int = 512
    layers: int = 6
    heads: int = 8
    features: int = 256


QUICK = Sizes((32, 64), 128, width=32, layers=2, heads=2, features=16)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options, but for `--json`."""
    parser.add_argument("--rounds", type=int, default=5, help="default: 5; from 16,384 residues 1")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch; default: 1")
    parser.add_argument("--lengths", type=int, nargs="+", metavar="L", help="residues")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try it")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Measure, print the table, return the figures."""
    if min(args.rounds, args.threads, *(args.lengths or [1])) < 1:
        raise UserError("expected --rounds, --threads and --lengths of at least 1")
    sizes = QUICK if args.quick else Sizes()
    lengths = tuple(args.lengths or sizes.lengths)
    facts = {**machine(), "threads": args.threads, "rounds": args.rounds, "quick": args.quick}
    with Console(stderr=True).status("preparing") as status, threads(args.threads):
        peer = esm_model(sizes, max(lengths))
        models = {f"FAVOR+ {k}": performer(sizes, k) for k in KERNELS}
        facts["parameters"] = {name: _size(m) for name, m in {**models, PEER: peer}.items()}
        cells = list(_cells(models, peer, lengths, sizes.batch_tokens))
        seconds = interleave(cells, args.rounds, progress=status.update)
    facts["load_average_after"] = load_average()
    rows = list(_rows(seconds, [*models], lengths, sizes.batch_tokens))
    _print(facts, rows)
    return {"machine": facts, "rows": rows}


def performer(sizes: Sizes, kernel: str) -> ProteinTransformer:
    """Our trunk with ESM-2's widths, biases and activation, and FAVOR+ for its attention."""
    torch.manual_seed(0)
    trunk = TrunkConfig(
        sizes.width,
        sizes.layers,
        sizes.heads,
        4 * sizes.width,
        causal=False,
        bias=True,
        activation="gelu",
    )
    make = partial(Favor, feature_map=kernel, num_features=sizes.features)
    return ProteinTransformer(len(Alphabet()), make, trunk).eval()


def esm_model(sizes: Sizes, longest: int) -> nn.Module:
    """Hugging Face's model at random weights. Raises: UserError where it is not installed."""
    try:
        from transformers import EsmConfig, EsmModel
    except ImportError:
        raise UserError(
            "the peer is not installed: pip install 'protein-performer[peers]'"
        ) from None
    torch.manual_seed(0)
    config = EsmConfig(
        vocab_size=len(Alphabet()),
        mask_token_id=Alphabet.mask,
        pad_token_id=Alphabet.pad,
        hidden_size=sizes.width,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=4 * sizes.width,
        max_position_embeddings=longest + 2,
        position_embedding_type="rotary",
        token_dropout=False,
    )
    model: nn.Module = EsmModel(config, add_pooling_layer=False)
    return model.eval()


def _cells(
    models: dict[str, ProteinTransformer],
    peer: nn.Module,
    lengths: Sequence[int],
    batch_tokens: int,
) -> Iterator[Cell]:
    for length in lengths:
        rounds = 1 if length >= _ONE_ROUND_FROM else None
        for precision in PRECISIONS:
            for name, model in models.items():
                prepare = partial(_embedding, model.hidden, length, batch_tokens, precision)
                yield Cell(Key(precision, name, length), prepare, rounds)
            prepare = partial(_embedding, partial(_states, peer), length, batch_tokens, precision)
            yield Cell(Key(precision, PEER, length), prepare, rounds)


def _states(peer: Any, tokens: Tensor, mask: Tensor) -> Tensor:
    states: Tensor = peer(input_ids=tokens, attention_mask=mask).last_hidden_state
    return states


def _embedding(
    compute: Callable[[Tensor, Tensor], Tensor], length: int, batch_tokens: int, precision: str
) -> Step:
    """One batch through a model, warmed up at 64 residues."""
    generator = torch.Generator().manual_seed(length)
    shape = (_rows_of(length, batch_tokens), length)
    tokens = torch.randint(Alphabet.first_letter, 24, shape, generator=generator)
    mask = torch.ones_like(tokens, dtype=torch.bool)

    @torch.inference_mode()
    def step(places: int = length) -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            compute(tokens[:, :places], mask[:, :places])

    step(min(64, length))
    return step


def _rows_of(length: int, batch_tokens: int) -> int:
    return max(1, batch_tokens // length)


def _rows(
    seconds: dict[Key, list[float]], names: Sequence[str], lengths: Sequence[int], tokens: int
) -> Iterator[dict[str, Any]]:
    for length in lengths:
        residues = length * _rows_of(length, tokens)
        for precision in PRECISIONS:
            peer = seconds[Key(precision, PEER, length)]
            for name in names:
                ours = seconds[Key(precision, name, length)]
                yield {
                    "length": length,
                    "precision": precision,
                    "model": name,
                    "residues_per_second": residues / spread(ours).median,
                    "peer_residues_per_second": residues / spread(peer).median,
                    "times_faster": spread(ratios(peer, ours))._asdict(),
                }


def _print(facts: dict[str, object], rows: Sequence[dict[str, Any]]) -> None:
    console = make_console()
    console.print(", ".join(f"{name}: {value}" for name, value in facts.items()))
    columns = ("residues", "precision", "model", "residues/s", f"{PEER}, residues/s", "ratio")
    table = Table(*columns, title="Embedding, one length a batch")
    for row in rows:
        times = row["times_faster"]
        table.add_row(
            f"{row['length']:,}",
            row["precision"],
            row["model"],
            f"{row['residues_per_second']:,.0f}",
            f"{row['peer_residues_per_second']:,.0f}",
            f"{times['median']:.2f} ({times['low']:.2f}-{times['high']:.2f})",
        )
    console.print(table)


def _size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m benchmarks.inference`; the exit code."""
    return command_line("inference", __doc__, add_arguments, run, argv)


if __name__ == "__main__":
    sys.exit(main())
