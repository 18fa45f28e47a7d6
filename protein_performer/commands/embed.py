"""Embed proteins with a checkpoint of yours.

Writes an HDF5 file with the datasets accession (N,), length (N,) and embedding: (N, E), the mean
over each protein's residues. With --pooling residue, embedding holds one row a residue, and protein
i has the rows offset[i]:offset[i + 1]. Order and number are those of the FASTA file.

  protein-performer embed logs/runs/RUN/checkpoints/best.ckpt proteins.fasta.gz embeddings.h5
"""

import argparse
import time
from pathlib import Path

from rich.console import Console

from protein_performer.inference.embed import embed_file
from protein_performer.inference.trained_model import load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("checkpoint", type=Path, help="a run's best.ckpt or last.ckpt")
    parser.add_argument("source", help="FASTA or FASTA.gz file, or a quoted glob")
    parser.add_argument("out", type=Path, help="the HDF5 file to write; must not exist")
    parser.add_argument("--pooling", choices=("mean", "residue"), default="mean")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32")
    parser.add_argument("--device", help="such as cpu or cuda:0; default: a GPU if there is one")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Do it, print what was done, return the figures."""
    start = time.perf_counter()
    model = load(args.checkpoint, device=args.device)
    facts = {
        "checkpoint": str(args.checkpoint),
        "step": model.checkpoint.step,
        "objective": model.checkpoint.objective,
        "model": model.checkpoint.config["model"]["name"],
    }
    counts, read = embed_file(
        model, args.source, args.out, pooling=args.pooling, dtype=args.dtype, attributes=facts
    )
    seconds = time.perf_counter() - start
    console = Console(stderr=True)
    for warning in read.warnings():
        console.print(f"warning: {warning}", style="yellow", highlight=False)
    print(
        f"{counts.proteins:,} proteins, {counts.residues:,} residues, width {model.width},"
        f" {seconds:.1f} s -> {args.out}"
    )
    return {
        "proteins": counts.proteins,
        "residues": counts.residues,
        "width": model.width,
        "seconds": seconds,
        "left_out_empty": read.empty,
    }
