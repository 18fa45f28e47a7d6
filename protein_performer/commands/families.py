"""Write which proteins belong to some Pfam families, to hold these families out.

Without --family: the 20 families of the Performer paper's OOD set.

  protein-performer families data/trembl/uniprot_trembl.dat.gz data/trembl/ood.tsv.gz
  protein-performer families Pfam-A.regions.uniprot.tsv.gz kinases.tsv.gz --family PF00069 PF07714
"""

import argparse
from pathlib import Path

from rich.console import Console

from protein_performer.data.reading.pfam import (
    PAPER_OOD_FAMILIES,
    PFAM_REGIONS,
    write_family_table,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help=f"Swiss-Prot or TrEMBL flat file, or Pfam's table of regions ({PFAM_REGIONS});"
        " plain or gzip, a file or an address",
    )
    parser.add_argument(
        "table", type=Path, metavar="TABLE", help="where to write `family<TAB>accession`"
    )
    parser.add_argument(
        "--family",
        nargs="+",
        default=PAPER_OOD_FAMILIES,
        metavar="PFxxxxx",
        help="Pfam accessions instead of the paper's",
    )


def run(args: argparse.Namespace) -> dict[str, object]:
    """Do it, print what was done, return the figures."""
    found = write_family_table(args.source, args.table, args.family)
    console = Console(highlight=False)
    for family, proteins in found.items():
        console.print(f"{family}  {proteins:>9,} proteins")
    console.print(f"{args.table}: {sum(found.values()):,} rows", soft_wrap=True)
    return {"table": str(args.table), "proteins": found}
