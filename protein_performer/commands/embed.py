"""One vector a protein, or one a residue, from a checkpoint of yours.

Writes an HDF5 file with the datasets accession (N,), length (N,) and embedding: (N, E), the mean
over each protein's residues. With --pooling residue, embedding holds one row a residue, and protein
i has the rows offset[i]:offset[i + 1]. Order and number are those of the files.

  protein-performer embed logs/runs/RUN/checkpoints/best.ckpt proteins.fasta.gz embeddings.h5
"""

import argparse
import time
from pathlib import Path

from protein_performer.commands.arguments import add_checkpoint, add_sources, load_model, warn
from protein_performer.inference.embed import embed_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    add_checkpoint(parser)
    add_sources(parser)
    parser.add_argument("out", type=Path, help="the HDF5 file to write; must not exist")
    parser.add_argument("--pooling", choices=("mean", "residue"), default="mean")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Do it, print what was done, return the figures."""
    start = time.perf_counter()
    model = load_model(args)
    facts = {
        "checkpoint": str(args.checkpoint),
        "step": model.checkpoint.step,
        "objective": model.checkpoint.objective,
        "model": model.checkpoint.config["model"]["name"],
    }
    counts = embed_file(
        model,
        args.sources,
        args.out,
        pooling=args.pooling,
        residue_policy=args.residue_policy,
        dtype=args.dtype,
        attributes=facts,
    )
    seconds = time.perf_counter() - start
    warn(counts.warnings())
    print(
        f"{counts.proteins:,} proteins, {counts.residues:,} residues, width {model.width},"
        f" {seconds:.1f} s -> {args.out}"
    )
    return {
        "proteins": counts.proteins,
        "residues": counts.residues,
        "width": model.width,
        "seconds": seconds,
        "left_out_empty": counts.reading.empty,
    }
