"""Look at a checkpoint's attention: matrices, residues treated alike, errors of FAVOR+.

Writes into a folder: maps_1.png and so on, the matrices of every layer and head of the first
proteins, with the numbers in maps.npz; similarity.png, how alike heads treat two residues, beside
BLOSUM62; approximation.png, the error of FAVOR+ against exact attention on the checkpoint's own
queries and keys; and attention.json with the figures.

  protein-performer attention logs/runs/RUN proteins.fasta.gz pictures
"""

import argparse
import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protein_performer.commands.arguments import (
    add_checkpoint,
    add_sources,
    load_model,
    positive,
    warn,
)
from protein_performer.errors import UserError
from protein_performer.files import replacing

if TYPE_CHECKING:
    from protein_performer.inference.encoded_proteins import Protein
    from protein_performer.inference.interpretation.residue_similarity import Similarity
    from protein_performer.inference.trained_model import TrainedModel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    add_checkpoint(parser)
    add_sources(parser)
    parser.add_argument("out", type=Path, metavar="FOLDER", help="must not exist, or be empty")
    parser.add_argument(
        "--maps", type=positive, default=1, metavar="N", help="draw the first N (default: 1)"
    )
    parser.add_argument(
        "--proteins",
        type=positive,
        default=800,
        metavar="N",
        help="sum attention over the first N (default: 800, as in the Performer paper)",
    )
    parser.add_argument(
        "--errors", type=positive, default=20, metavar="N", help="of the first N (default: 20)"
    )
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.0,
        help="entries up to this count as 0 for similarities (default: 0; Vig et al. take 0.1)",
    )
    parser.add_argument(
        "--features",
        type=positive,
        nargs="+",
        default=[64, 256, 1024],
        metavar="M",
        help="numbers of features (default: 64 256 1024)",
    )


def run(args: argparse.Namespace) -> dict[str, object]:
    """Do it, print what was done, return the figures."""
    from protein_performer.inference.interpretation.approximation_report import approximation_report
    from protein_performer.inference.interpretation.residue_similarity import residue_similarity

    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise UserError(f"{args.out}: expected a new or an empty folder. Choose another name.")
    model = load_model(args)
    model.check_reads_proteins()
    proteins = _read(model, args)
    codes = [protein.codes for protein in proteins]
    args.out.mkdir(parents=True, exist_ok=True)
    _draw_maps(model, proteins[: args.maps], args.out)
    errors = approximation_report(model, codes[: args.errors], features=args.features)
    _draw_errors(errors, args.out)
    figures: dict[str, Any] = {"proteins": len(proteins), "approximation": errors}
    try:
        similarity = residue_similarity(model, codes, threshold=args.threshold)
    except UserError as error:  # of a model with one or two heads; the rest stands
        figures["similarity"] = None
        warn([str(error)])
    else:
        figures["similarity"] = _tell_similarity(similarity, args.out)
    with replacing(args.out / "attention.json") as partial:
        partial.write_text(json.dumps(figures, indent=1) + "\n")
    print(f"{len(proteins):,} proteins -> {args.out}")
    return figures


def _read(model: "TrainedModel", args: argparse.Namespace) -> list["Protein"]:
    from protein_performer.inference.batched_model import aligned
    from protein_performer.inference.encoded_proteins import SourceCounts, read_proteins

    policy = args.residue_policy or aligned(model.checkpoint.residue_policy)
    counts = SourceCounts()
    found = read_proteins(args.sources, model.alphabet, policy, counts)
    proteins = list(itertools.islice(found, max(args.proteins, args.maps, args.errors)))
    warn(counts.warnings())
    return proteins


def _draw_maps(model: "TrainedModel", proteins: list["Protein"], out: Path) -> None:
    """Files are numbered: an accession may hold any characters."""
    from protein_performer.inference.interpretation.attention_maps import attention_maps
    from protein_performer.reporting.attention_figure import maps_figure, save_maps

    arrays: dict[str, Any] = {}
    for number, protein in enumerate(proteins, start=1):
        maps = attention_maps(model, protein.codes).numpy()
        title = f"{protein.accession[:60]}, {len(protein.codes):,} residues"
        maps_figure(maps, title).savefig(out / f"maps_{number}.png", dpi=110)
        arrays[f"maps_{number}"] = maps
    save_maps(out / "maps.npz", arrays)


def _draw_errors(rows: list[dict[str, Any]], out: Path) -> None:
    from protein_performer.reporting.attention_figure import layers_figure

    layers_figure(rows).savefig(out / "approximation.png", dpi=110)
    for layer in sorted({row["layer"] for row in rows}):
        here = [row for row in rows if row["layer"] == layer]
        uniform = next(row["error"] for row in here if row["map"] == "uniform")
        best = min((row for row in here if row["map"] != "uniform"), key=lambda row: row["error"])
        print(
            f"layer {layer}: error of uniform attention {uniform:.3f}, of the best map"
            f" ({best['map']}, {best['features']} features) {best['error']:.3f}"
        )


def _tell_similarity(found: "Similarity", out: Path) -> dict[str, object]:
    from protein_performer.reporting.attention_figure import similarity_figure

    title = (
        f"{found.proteins:,} proteins, {found.heads} heads: r = {found.correlation:.3f},"
        f" p = {found.p_value:.2g}"
    )
    figure = similarity_figure(found.letters, found.similarity, found.blosum, title)
    figure.savefig(out / "similarity.png", dpi=110)
    print(f"similarity by attention and BLOSUM62: {title}")
    return {
        "correlation": found.correlation,
        "p_value": found.p_value,
        "heads": found.heads,
        "proteins": found.proteins,
        "letters": found.letters,
        "similarity": found.similarity.tolist(),
    }
