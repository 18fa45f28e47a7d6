"""Accuracy and perplexity of a checkpoint on proteins of yours.

By the objective that it was trained on, beside the figures of the training set's residue
frequencies on the same residues. A masked model is asked for masked residues, the same ones each
time.

  protein-performer evaluate logs/runs/RUN/checkpoints/best.ckpt proteins.fasta --json figures.json
"""

import argparse

from protein_performer.commands.arguments import add_checkpoint, add_sources, load_model, positive
from protein_performer.commands.progress import progress
from protein_performer.inference.evaluate import evaluate_source, report_lines


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


def run(args: argparse.Namespace) -> dict[str, object]:
    """Do it, print what was done, return the figures."""
    model = load_model(args)
    max_length = args.max_length or model.checkpoint.config["data"]["max_length"]
    with progress("evaluating") as show:
        figures, counts = evaluate_source(
            model,
            args.sources,
            max_length=max_length,
            residue_policy=args.residue_policy,
            on_progress=lambda counts, total: show(counts.proteins, counts.residues, total),
        )
    for line in report_lines(figures, counts):
        print(line)
    return {**figures, "proteins": counts.proteins, "cut": counts.cut}
