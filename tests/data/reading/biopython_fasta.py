"""FASTA by Biopython's parser with checks of each line on its way: what our parser must agree with.

Biopython skips text before the first header, takes a FASTQ file for an empty one, and removes
spaces without a word.
"""

from collections import deque
from collections.abc import Iterable, Iterator

from Bio.SeqIO.FastaIO import SimpleFastaParser

from protein_performer.data.reading.fasta import (
    as_text,
    check_residues,
    empty_file,
    not_proteins,
    split_title,
)
from protein_performer.data.reading.record import ReadCounts, Record
from protein_performer.errors import UserError


def parse_with_biopython(lines: Iterable[str], where: str, counts: ReadCounts) -> Iterator[Record]:
    """Records of a whole file; its lines are decoded as Latin-1, their ends made one."""
    checked = _CheckedLines(lines, where)
    title = None
    for title, sequence in SimpleFastaParser(iter(checked)):
        number, spaced = checked.headers.popleft(), checked.spaced.popleft()
        place = f"{where}, line {number:,}"
        if "\0" in title:
            shown = repr(title.split("\n", 1)[0][:40])
            raise UserError(f"{place}: expected a header, got {shown}. {_NUL}")
        if not title.strip():
            raise UserError(f"{place}: {_NO_WORD}")
        accession, description = split_title(as_text(title))
        sequence = "".join(sequence.split())
        if not title.isascii():
            counts.note("non_ascii", f"{place} ({accession})")
        if not sequence:
            counts.note("empty", f"{place} ({accession})")
            continue
        if spaced:
            counts.note("spaced", f"{place} ({accession})")
        counts.records += 1
        counts.residues += len(sequence)
        yield Record(accession, description, sequence)
    if title is None:
        raise empty_file(where)


_NUL = (
    "There are NUL bytes: the file was damaged (a copy that broke off can leave holes), or it is"
    " UTF-16. Write it again, as plain text."
)
_NO_WORD = (
    "expected an accession after '>', got a header without a word. Give the record a name: results"
    " are filed under it."
)


class _CheckedLines:
    """Lines on their way to Biopython, and what it does not report of them."""

    def __init__(self, lines: Iterable[str], where: str) -> None:
        self.lines = lines
        self.where = where
        self.headers: deque[int] = deque()  # line numbers of headers that are not yet records
        self.spaced: deque[bool] = deque()  # of the same records: white space inside a line?

    def __iter__(self) -> Iterator[str]:
        started = False
        for number, line in enumerate(self.lines, start=1):
            if line[0] == ">":
                started = True
                self.headers.append(number)
                self.spaced.append(False)
            elif started:
                check_residues(line, self.where, number)
                self.spaced[-1] |= len(line.split()) > 1
            elif line.strip():
                raise not_proteins(line, f"{self.where}, line {number:,}")
            yield line
