"""Fetch proteins from UniProt, going on where an earlier call broke off.

Whole releases are checked against UniProt's own sizes and checksums. UniProt's data are CC BY 4.0.

  protein-performer download swissprot data/swissprot
  protein-performer download trembl data/trembl --format dat
  protein-performer download 'organism_id:9606 AND reviewed:true' data/human.fasta.gz
"""

import argparse
from pathlib import Path

from rich.console import Console

from protein_performer.data.fetching.uniprot import KNOWLEDGEBASE, download_release
from protein_performer.data.fetching.uniprot_query import REST, download_query
from protein_performer.errors import UserError

RELEASES = ("trembl", "swissprot")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "what", metavar="WHAT", help=f"{' or '.join(RELEASES)}, or a query in UniProt's language"
    )
    parser.add_argument(
        "target", type=Path, metavar="TARGET", help="folder of a release, or file of a query"
    )
    parser.add_argument(
        "--format",
        choices=("fasta", "dat"),
        default="fasta",
        help="of a release: dat (flat files) states Pfam families (default: %(default)s)",
    )
    parser.add_argument(
        "--source",
        metavar="URL",
        help=f"a mirror: instead of {KNOWLEDGEBASE} for a release, of {REST} for a query",
    )


def run(args: argparse.Namespace) -> dict[str, object]:
    """Do it, print what was done, return the figures."""
    if args.what in RELEASES:
        path = download_release(args.what, args.target, format=args.format, source=args.source)
    elif args.format != "fasta":
        raise UserError(
            f"--format {args.format} is for {' and '.join(RELEASES)}; queries are FASTA"
        )
    else:
        path = download_query(args.what, args.target, service=args.source or REST)
    size = path.stat().st_size
    Console().print(f"{path}: {size:,} bytes; where it is from: {path}.json", soft_wrap=True)
    return {"path": str(path), "bytes": size}
