"""New proteins from a checkpoint, as FASTA.

A causal model draws them residue by residue until it ends them itself. A masked model fills in
places of a protein of yours: --sequence and --mask. Each header has the log-likelihood in nats.

  protein-performer generate logs/runs/RUN new.fasta -n 100 --prompt MKT --temperature 0.9
  protein-performer generate logs/runs/RUN new.fasta -n 5 --sequence MKTAYIAKQR --mask 3-5,9
"""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from protein_performer.commands.arguments import add_checkpoint, load_model, positive
from protein_performer.errors import UserError
from protein_performer.files import replacing

if TYPE_CHECKING:
    from protein_performer.inference.generation.generation import GeneratedProtein

WIDTH = 60  # residues of a line of FASTA, as UniProt has


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    add_checkpoint(parser)
    parser.add_argument("out", type=Path, help="the FASTA file to write")
    parser.add_argument("-n", "--number", type=positive, default=1, help="proteins (default: 1)")
    parser.add_argument(
        "--max-length", type=positive, default=1000, metavar="L", help="residues (default: 1000)"
    )
    parser.add_argument("--prompt", default="", help="residues that each protein begins with")
    parser.add_argument("--sequence", help="a protein to fill in, of a masked model")
    parser.add_argument("--mask", metavar="PLACES", help="which residues: 3-5,9 (from 1)")
    parser.add_argument(
        "--temperature", type=float, default=1.0, help="0: always the likeliest (default: 1)"
    )
    parser.add_argument(
        "--top-p", type=float, default=1.0, help="draw from this share of probability (default: 1)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all draws (default: 0)")
    parser.add_argument("--rare", action="store_true", help="let B, J, O, U, X and Z occur")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Do it, print what was done, return the figures."""
    from protein_performer.inference.generation.generation import generate, in_paint
    from protein_performer.inference.generation.sampling import Sampling

    if args.out.exists() and not args.overwrite:
        raise UserError(f"{args.out}: the file exists. Remove it, choose another, or --overwrite.")
    if (args.sequence is None) != (args.mask is None):
        raise UserError("--sequence and --mask go together: a protein, and its places to fill in")
    sampling = Sampling(args.temperature, args.top_p, args.seed)
    model = load_model(args)
    model.check_reads_proteins()
    start = time.perf_counter()
    if args.sequence is None:
        options = {"max_length": args.max_length, "prompt": args.prompt}
        proteins = generate(model, args.number, sampling=sampling, rare=args.rare, **options)
    else:
        places = parse_places(args.mask)
        proteins = in_paint(
            model, args.sequence, places, args.number, sampling=sampling, rare=args.rare
        )
    seconds = time.perf_counter() - start
    with replacing(args.out) as partial:
        partial.write_text("".join(map(_record, range(len(proteins)), proteins)))
    residues = sum(len(protein.sequence) for protein in proteins)
    ended = sum(protein.ended for protein in proteins)
    print(
        f"{len(proteins):,} proteins, {residues:,} residues, {ended:,} ended by the model,"
        f" {seconds:.1f} s -> {args.out}"
    )
    return {
        "proteins": len(proteins),
        "residues": residues,
        "ended": ended,
        "seconds": seconds,
        "log_likelihood": [protein.log_likelihood for protein in proteins],
    }


def parse_places(text: str) -> list[int]:
    """Places from 0 of a list such as `3-5,9`, which counts from 1 and has both ends.

    >>> parse_places("3-5,9")
    [2, 3, 4, 8]
    """
    places: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            places += range(int(first) - 1, int(last if dash else first))
        except ValueError:
            raise UserError(f"--mask: expected places such as 3-5,9, got {part!r}") from None
    return places


def _record(number: int, protein: "GeneratedProtein") -> str:
    lines = [protein.sequence[i : i + WIDTH] for i in range(0, len(protein.sequence), WIDTH)]
    ended = "yes" if protein.ended else "no"
    header = f">generated_{number + 1} log_likelihood={protein.log_likelihood:.4f} ended={ended}"
    return "\n".join([header, *lines]) + "\n"
