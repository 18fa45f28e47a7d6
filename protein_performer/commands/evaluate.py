"""Score a checkpoint on proteins of yours, by the objective that it was trained on.

Prints accuracy and perplexity beside those of the training set's residue frequencies on the same
residues. A masked model is asked for hidden residues, the same ones each time.

  protein-performer evaluate logs/runs/RUN/checkpoints/best.ckpt proteins.fasta --json figures.json
"""

import argparse
from pathlib import Path

from protein_performer.inference.evaluate import evaluate_source, report_lines
from protein_performer.inference.trained_model import load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("checkpoint", type=Path, help="a run's best.ckpt or last.ckpt")
    parser.add_argument("source", help="FASTA or FASTA.gz file, or a quoted glob")
    parser.add_argument(
        "--max-length",
        type=int,
        metavar="L",
        help="score the first L residues of each protein; default: as in training",
    )
    parser.add_argument("--device", help="such as cpu or cuda:0; default: a GPU if there is one")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Do it, print what was done, return the figures."""
    model = load(args.checkpoint, device=args.device)
    max_length = args.max_length or model.checkpoint.config["data"]["max_length"]
    figures, counts = evaluate_source(model, args.source, max_length=max_length)
    for line in report_lines(figures, counts):
        print(line)
    return {**figures, "proteins": counts.proteins, "cut": counts.cut}
