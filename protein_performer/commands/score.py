"""How likely a checkpoint finds proteins, or variants of one protein.

A row a record: residues, log-likelihood (nats), perplexity, accuracy. A model of the next residue
gives the log-likelihood itself, a masked model a pseudo-log-likelihood: one pass for each residue,
or --method one-pass, an approximation.

With --variants FILE, SOURCE is the wild type, FILE has a column `mutant` (A123G, or A123G:T45K;
positions from 1), and a row a variant says by how many nats it is likelier than the wild type.
Where FILE has measurements, Spearman's correlation and what else ProteinGym reports are printed.

  protein-performer score logs/runs/RUN proteins.fasta scores.csv
  protein-performer score logs/runs/RUN wild_type.fasta scores.parquet --variants DMS.csv
"""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from protein_performer.commands.arguments import add_checkpoint, add_sources, load_model, warn
from protein_performer.errors import UserError

if TYPE_CHECKING:
    from protein_performer.inference.scoring.likelihood import Cost
    from protein_performer.inference.trained_model import TrainedModel

METHODS = "exact, pseudo or one-pass"
VARIANT_METHODS = "log-ratio, masked-marginal, wild-type-marginal, pseudo or one-pass"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    add_checkpoint(parser)
    add_sources(parser)
    parser.add_argument("out", type=Path, help="the file to write: .csv, .tsv or .parquet")
    parser.add_argument(
        "--method",
        help=f"{METHODS}; with --variants {VARIANT_METHODS} (default: exact and log-ratio of a"
        " causal model, pseudo and masked-marginal of a masked one)",
    )
    parser.add_argument("--variants", type=Path, metavar="FILE", help="mutants of the one SOURCE")
    parser.add_argument(
        "--measured", metavar="COLUMN", help="of FILE (default: DMS_score, if there is one)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Do it, print what was done, return the figures."""
    if args.measured is not None and args.variants is None:
        raise UserError("--measured is a column of --variants FILE, which is not given")
    model = load_model(args)
    start = time.perf_counter()
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with progress as bar:
        figures = (_score if args.variants is None else _score_variants)(args, model, bar)
    figures["seconds"] = time.perf_counter() - start
    print(f"{figures['seconds']:.1f} s -> {args.out}")
    return figures


def _score(args: argparse.Namespace, model: "TrainedModel", bar: Progress) -> dict[str, Any]:
    from protein_performer.inference.scoring.scoring import NAMES, score_source

    task = bar.add_task("scoring", total=None)

    def on_cost(cost: "Cost", proteins: int) -> None:
        bar.update(task, total=cost.passes)
        bar.console.print(
            f"pseudo-log-likelihood: {cost.passes:,} passes over {cost.tokens:,} tokens, one for"
            f" each residue. --method one-pass approximates it in {proteins:,}.",
            soft_wrap=True,
            highlight=False,
        )

    totals, counts = score_source(
        model,
        args.sources,
        args.out,
        method=args.method,
        residue_policy=args.residue_policy,
        overwrite=args.overwrite,
        on_cost=on_cost,
        on_passes=lambda passes: bar.advance(task, passes),
    )
    warn(counts.warnings())
    figures: dict[str, Any] = totals.figures()
    perplexity = NAMES[totals.method][1]
    print(f"{totals.proteins:,} proteins, {totals.residues:,} residues, {totals.method}")
    if totals.residues:
        print(
            f"{perplexity.replace('_', ' ')} {figures[perplexity]:.3f}, accuracy"
            f" {100 * figures['accuracy']:.2f} %"
        )
    for accession in totals.failed:
        print(f"error: {accession}: does not fit into memory, not scored", file=sys.stderr)
    return figures


def _score_variants(
    args: argparse.Namespace, model: "TrainedModel", bar: Progress
) -> dict[str, Any]:
    from protein_performer.inference.scoring.variant_scoring import score_variant_file

    task = bar.add_task("scoring", total=None)

    def on_cost(cost: "Cost", variants: int) -> None:
        bar.update(task, total=cost.passes)
        bar.console.print(
            f"{variants:,} variants: {cost.passes:,} passes over {cost.tokens:,} tokens",
            soft_wrap=True,
            highlight=False,
        )

    figures, counts = score_variant_file(
        model,
        args.sources,
        args.variants,
        args.out,
        method=args.method,
        column=args.measured,
        residue_policy=args.residue_policy,
        overwrite=args.overwrite,
        on_cost=on_cost,
        on_passes=lambda passes: bar.advance(task, passes),
    )
    warn(counts.warnings())
    print(f"{figures['variants']:,} variants, {figures['method']}")
    if "spearman" in figures:
        print(_agreement(figures))
    return figures


def _agreement(figures: dict[str, Any]) -> str:
    def shown(name: str) -> str:
        return "not defined" if figures[name] is None else f"{figures[name]:.3f}"

    return (
        f"{figures['measured']:,} measured: Spearman {shown('spearman')} (95 %:"
        f" {shown('spearman_low')} to {shown('spearman_high')}), AUC {shown('auc')}, MCC"
        f" {shown('mcc')}, NDCG {shown('ndcg')}, top recall {shown('top_recall')}"
        f" (fit: {figures['fit']})"
    )
