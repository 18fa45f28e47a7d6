"""Which proteins belong to a Pfam family: the table by which whole families are held out.

Two sources state it: `DR   Pfam;` lines of Swiss-Prot and TrEMBL flat files, and Pfam's own
`Pfam-A.regions.uniprot.tsv.gz`, a row a domain, more than 20 GB when inflated. Either is streamed;
only rows of the wanted families are kept.
"""

import gzip
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path

from protein_performer.addresses import public_address
from protein_performer.data.reading.columns import parse_columns
from protein_performer.data.reading.record import ReadCounts
from protein_performer.data.reading.sources import expand, inflated
from protein_performer.data.reading.text_blocks import cut_blocks, unix_line_ends
from protein_performer.errors import UserError
from protein_performer.files import replacing

log = logging.getLogger(__name__)

# The 20 families that are the OOD set of Choromanski et al. 2021, arXiv:2009.14794, appendix C.1,
# as in ProGen (Madani et al. 2020, arXiv:2004.03497).
PAPER_OOD_FAMILIES = (
    *("PF18369", "PF04680", "PF17988", "PF12325", "PF03272", "PF03938", "PF17724", "PF10696"),
    *("PF11968", "PF04153", "PF06173", "PF12378", "PF04420", "PF10841", "PF06917", "PF03492"),
    *("PF06905", "PF15340", "PF17055", "PF05318"),
)

PFAM_REGIONS = (
    "https://ftp.ebi.ac.uk/pub/databases/Pfam/current_release/Pfam-A.regions.uniprot.tsv.gz"
)

_LONGEST_LINE = 1 << 22  # bytes
_ACCESSION = re.compile(r"PF\d{5}")
_PROTEIN_COLUMN, _FAMILY_COLUMN = b"uniprot_acc", b"pfamA_acc"


def read_members(
    source: str | os.PathLike[str],
    families: Sequence[str] = PAPER_OOD_FAMILIES,
    *,
    counts: ReadCounts | None = None,
) -> Iterator[tuple[str, str]]:
    """Pairs (family, protein's accession), in the order of the source, streamed.

    A pair comes once for each run of rows of one protein; in either source these stand together.

    Args:
        source: a flat file or Pfam's table of regions, plain or gzip, a file or an address.
        families: Pfam accessions without version, such as "PF00069".
        counts: where the bytes read are counted.

    Raises: UserError for a source of neither kind, a row without the two columns, or a family
        that is no Pfam accession.
    """
    check_families(families)
    if not families:
        raise UserError("families: expected Pfam accessions such as PF00069, got none")
    names = expand(source)
    if len(names) != 1:
        raise UserError(f"expected one source of families, got {len(names)}: {', '.join(names)}")
    counts = ReadCounts() if counts is None else counts
    shown, chunks = public_address(names[0]), inflated(names[0], counts)
    first = next(chunks)
    chunks = chain([first], chunks)
    if _FAMILY_COLUMN in first.split(b"\n", 1)[0]:
        stated = _from_regions(chunks, shown, frozenset(family.encode() for family in families))
    else:
        stated = _from_flat(chunks, shown, frozenset(families), counts)
    return (
        (family, protein)
        for protein, run in groupby(stated, itemgetter(0))
        for family in dict.fromkeys(family for _, family in run)
    )


def check_families(families: Sequence[str]) -> None:
    """Raise UserError for what is no Pfam accession without version, such as "PF00069"."""
    odd = [family for family in families if not _ACCESSION.fullmatch(family)]
    if odd:
        raise UserError(f"families: expected Pfam accessions such as PF00069, got {odd}")


def _from_flat(
    chunks: Iterator[bytes], name: str, families: frozenset[str], counts: ReadCounts
) -> Iterator[tuple[str, str]]:
    """Pairs (protein, family) of the wanted families."""
    for block in cut_blocks(chunks, name):
        columns = parse_columns(block, counts)
        if columns.families is None:
            raise UserError(
                f"{name}: FASTA does not state Pfam families; give a flat file (.dat.gz) or Pfam's"
                " Pfam-A.regions.uniprot.tsv.gz"
            )
        for accession, stated in zip(columns.accessions, columns.families, strict=True):
            yield from ((accession, family) for family in stated if family in families)


def _from_regions(
    chunks: Iterator[bytes], name: str, families: frozenset[bytes]
) -> Iterator[tuple[str, str]]:
    """As `_from_flat`."""
    lines = _blocks_of_lines(unix_line_ends(chunks), name)
    block = next(lines)
    header = block.pop(0).split(b"\t")
    if _PROTEIN_COLUMN not in header:
        raise UserError(f"{name}, line 1: expected a column {_PROTEIN_COLUMN.decode()}")
    protein_at, family_at = header.index(_PROTEIN_COLUMN), header.index(_FAMILY_COLUMN)
    line_number = 2
    for rows in chain([block], lines):
        for row in rows:
            cells = row.split(b"\t")
            if len(cells) <= family_at:
                raise UserError(
                    f"{name}, line {line_number:,}: expected at least {family_at + 1} columns apart"
                    f" by tabs, got {row[:60]!r}"
                )
            if cells[family_at] in families:
                yield cells[protein_at].decode("latin-1"), cells[family_at].decode()
            line_number += 1


def _blocks_of_lines(pieces: Iterator[bytes], name: str) -> Iterator[list[bytes]]:
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        if lines:
            yield lines
        elif len(rest) > _LONGEST_LINE:
            raise UserError(f"{name}: expected lines, got one that begins {rest[:40]!r} and no end")
    if rest:
        yield [rest]


def write_family_table(
    source: str | os.PathLike[str],
    table: str | os.PathLike[str],
    families: Sequence[str] = PAPER_OOD_FAMILIES,
    *,
    counts: ReadCounts | None = None,
) -> dict[str, int]:
    """Write `family<TAB>accession` rows, the form in which splits read groups of proteins.

    The table is there only when it is whole.

    Args:
        source, families, counts: see `read_members`.
        table: a file's name; gzipped if it ends in `.gz`.

    Returns: the number of proteins of each family, in the order of `families`. Families without
        any are 0 and logged.
    Raises: UserError if no family has a member: that is not what was meant.
    """
    table, shown = Path(table), public_address(os.fspath(source))
    found: Counter[str] = Counter()
    table.parent.mkdir(parents=True, exist_ok=True)
    with replacing(table) as partial:
        with gzip.open(partial, "wt") if table.suffix == ".gz" else partial.open("w") as rows:
            for family, accession in read_members(source, families, counts=counts):
                found[family] += 1
                rows.write(f"{family}\t{accession}\n")
        if not found:
            raise UserError(f"{shown}: no protein of any of {', '.join(families)}")
    missing = [family for family in families if not found[family]]
    if missing:
        log.warning("%s: no protein of %s", shown, ", ".join(missing))
    return {family: found[family] for family in families}
