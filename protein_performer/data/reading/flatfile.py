"""Swiss-Prot and TrEMBL flat files (`.dat`) -> records with their Pfam families, by Biopython.

Only the lines that a record is made of are handed to Biopython: that is several times faster, and
lines that it does not know (the curators' `**` lines) or refuses cannot stop the reading.
"""

import io
import re
from collections.abc import Iterator
from typing import Any

from Bio import SwissProt

from protein_performer.data.reading.fasta import as_text
from protein_performer.data.reading.record import ReadCounts, Record
from protein_performer.errors import UserError

# Starts of the lines that are kept: name, accessions, description, organism, families, sequence.
_KEPT = ("ID   ", "AC   ", "DE   ", "OS   ", "DR   Pfam;", "SQ   ", "     ", "//")
_END = "//\n"
_FULL_NAME = re.compile(r"Full=([^;{]+)")


def parse_flat(text: bytes, where: str, counts: ReadCounts, *, first_line: int) -> Iterator[Record]:
    r"""Records of whole entries, in order, one at a time.

    The description is made as UniProt's FASTA headers begin: recommended name, then `OS=` and the
    organism.

    Args:
        text: of the entries, read as Latin-1. Only "\n" ends a line.
        where: the file's name, for errors.
        counts: where records and oddities are counted.
        first_line: the number of the first line in its file.

    Raises: UserError, naming the entry's first line, for an entry that breaks off, has no
        accession, is no flat-file entry at all, or whose sequence is not as long as its SQ line
        says.
    """
    for line_number, entry in _entries(text, first_line):
        place = f"{where}, entry at line {line_number:,}"
        parsed = _parse_entry(entry, place)
        record = _record(parsed, place)
        at = f"{place} ({record.accession})"
        if not (record.accession + record.description).isascii():
            counts.note("non_ascii", at)
        if not record.sequence:
            counts.note("empty", at)
            continue
        counts.records += 1
        counts.residues += len(record.sequence)
        yield record


def _entries(text: bytes, first_line: int) -> Iterator[tuple[int, list[str]]]:
    """Line number and lines of each entry, without the lines that no record needs."""
    entry: list[str] = []
    begin = first_line
    lines = io.StringIO(text.decode("latin-1"), newline="\n")
    for number, line in enumerate(lines, start=first_line):
        if line.isspace() and not entry:
            begin = number + 1
        elif line == _END:
            yield begin, [*entry, line]
            entry, begin = [], number + 1
        elif line.startswith(_KEPT) or not entry:
            entry.append(line)
    if entry:
        yield begin, entry


def _parse_entry(entry: list[str], place: str) -> Any:
    if entry[-1] != _END:
        raise UserError(
            f"{place}: expected '//' at the end of the entry, but the file ends before it. It is"
            " truncated, probably by a download that broke off: fetch it again."
        )
    try:
        return SwissProt.read(io.StringIO("".join(entry)))  # type: ignore[no-untyped-call]
    except (ValueError, AssertionError, LookupError) as error:
        raise UserError(
            f"{place}: expected a Swiss-Prot or TrEMBL entry, which Biopython cannot read:"
            f" {' '.join(str(error).split())}. The entry begins {entry[0][:40]!r}."
        ) from None


def _record(entry: Any, place: str) -> Record:
    if not entry.accessions or not entry.accessions[0]:
        raise UserError(f"{place}: expected an accession, got an entry without AC line")
    if entry.seqinfo is None or entry.seqinfo[0] != len(entry.sequence):
        stated = "no SQ line" if entry.seqinfo is None else f"{entry.seqinfo[0]} residues stated"
        raise UserError(
            f"{place} ({entry.accessions[0]}): {stated}, {len(entry.sequence)} found. Lines were"
            " lost or added: fetch the file again."
        )
    name = _FULL_NAME.search(entry.description)
    description = f"{name[1].strip() if name else ''} OS={entry.organism.rstrip('.')}"
    families = [ref[1] for ref in entry.cross_references if ref[0] == "Pfam" and len(ref) > 1]
    return Record(
        as_text(entry.accessions[0]), as_text(description), entry.sequence, tuple(families)
    )
