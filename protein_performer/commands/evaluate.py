"""Accuracy and perplexity of a checkpoint on proteins of yours.

By the objective that it was trained on, beside what the training set's residue frequencies and,
with --train, its n-grams score on the same residues. A masked model is asked for masked residues,
the same ones each time. In brackets: 95 % intervals over resampled proteins. Several files are
scored one by one, and together.

  protein-performer evaluate logs/runs/RUN/checkpoints/best.ckpt proteins.fasta --json figures.json
  protein-performer evaluate logs/runs/RUN test.fasta ood.fasta --train prepared --per-residue
"""

import argparse
import math
from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table

from protein_performer.commands.arguments import (
    add_checkpoint,
    add_sources,
    load_model,
    positive,
)
from protein_performer.commands.progress import progress
from protein_performer.inference.batched_model import BatchedModel
from protein_performer.inference.evaluation.evaluation import (
    EvaluationCounts,
    evaluate_source,
    figure_lines,
    report_lines,
)
from protein_performer.inference.evaluation.evaluation_sums import EvaluationSums
from protein_performer.inference.evaluation.training_ngrams import count_training_set
from protein_performer.ngram import NGrams
from protein_performer.reporting.tables import make_console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    add_checkpoint(parser)
    add_sources(parser)
    parser.add_argument(
        "--max-length",
        type=positive,
        metavar="L",
        help="score the first L residues of each protein; default: as in training",
    )
    parser.add_argument(
        "--train",
        metavar="SOURCE",
        help="the training set, whose n-grams are a baseline: the run's prepared folder, or FASTA",
    )
    parser.add_argument(
        "--per-residue", action="store_true", help="print a table by residue (in --json always)"
    )


def run(args: argparse.Namespace) -> dict[str, object]:
    """Do it, print what was done, return the figures."""
    model = load_model(args)
    model.check_reads_proteins()
    ngrams = None if args.train is None else count_training_set(args.train, model.alphabet)
    files: dict[str, dict[str, Any]] = {}
    together: EvaluationSums | None = None
    for source in args.sources:
        sums, counts = _evaluate(source, model, ngrams, args)
        if len(args.sources) > 1:
            print(f"{source}:")
        files[source] = {**sums.figures(), "cut": counts.cut}
        _print(report_lines(files[source], counts), files[source], args)
        together = sums if together is None else together + sums
    assert together is not None  # argparse asks for a source
    figures = together.figures()
    if len(args.sources) > 1:
        print("together:")
        _print(figure_lines(figures), figures, args)
    cut = sum(each["cut"] for each in files.values())
    everything: dict[str, object] = _without_nan({**figures, "cut": cut, "files": files})
    return everything


def _evaluate(
    source: str, model: BatchedModel, ngrams: NGrams | None, args: argparse.Namespace
) -> tuple[EvaluationSums, EvaluationCounts]:
    with progress("evaluating") as show:
        return evaluate_source(
            model,
            source,
            max_length=args.max_length or model.checkpoint.config["data"]["max_length"],
            residue_policy=args.residue_policy,
            ngrams=ngrams,
            on_progress=lambda counts, total: show(counts.proteins, counts.residues, total),
        )


def _print(lines: Iterable[str], figures: Mapping[str, Any], args: argparse.Namespace) -> None:
    for line in lines:
        print(line)
    if args.per_residue:
        make_console().print(_residue_table(figures))


def _residue_table(figures: Mapping[str, Any]) -> Table:
    table = Table()
    for title in ("residue", "targets", "predicted", "accuracy", "perplexity", "/ baseline"):
        table.add_column(title, justify="left" if title == "residue" else "right")
    for letter, each in figures["per_residue"].items():
        table.add_row(
            letter,
            f"{each['targets']:,}",
            f"{each['predicted']:,}",
            f"{100 * each['accuracy']:.2f} %",
            f"{each['perplexity']:.2f}",
            f"{each['perplexity'] / each['empirical_perplexity']:.3f}",
        )
    return table


def _without_nan(figures: Any) -> Any:
    """None for what is not defined, which JSON has no number for."""
    if isinstance(figures, dict):
        return {key: _without_nan(value) for key, value in figures.items()}
    return None if isinstance(figures, float) and math.isnan(figures) else figures
