"""FASTA text -> records, by Biopython's parser with the checks that it leaves out.

Biopython skips text before the first header, takes a FASTQ file for an empty one, and removes
spaces without a word. Here each line is looked at on its way to Biopython.
"""

from collections import deque
from collections.abc import Generator, Iterator

from Bio.SeqIO.FastaIO import SimpleFastaParser

from protein_performer.data.record import ReadCounts, Record
from protein_performer.errors import UserError


def parse_fasta(lines: Iterator[str], where: str, counts: ReadCounts) -> Iterator[Record]:
    r"""Records of FASTA lines, in order, one at a time.

    Args:
        lines: decoded as Latin-1, each ending in "\n", the last one perhaps not.
        where: the file's name, for errors.
        counts: where records and oddities are counted.

    Raises: UserError, naming the line, for text before the first header, a file without any
        text, a header without an accession, `>` inside a line, a NUL byte.
    """
    found = yield from parse_lines(lines, where, counts, first_line=1)
    if not found:
        raise UserError(f"{where}: expected FASTA, got an empty file. Was its download finished?")


def parse_lines(
    lines: Iterator[str], where: str, counts: ReadCounts, *, first_line: int
) -> Generator[Record, None, bool]:
    """Records of consecutive whole records whose first line has the number `first_line`.

    Returns (as a generator does) whether there was any header.
    """
    checker = _LineChecker(where, first_line)
    title = None
    parser = SimpleFastaParser(checker.pass_on(lines))  # type: ignore[no-untyped-call]
    for title, sequence in parser:
        line_number, spaced = checker.headers.popleft(), checker.spaced.popleft()
        place = f"{where}, line {line_number:,}"
        accession, description = split_title(title, place)
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
    return title is not None


def split_title(title: str, place: str) -> tuple[str, str]:
    """Accession and description out of a header without its `>`.

    >>> split_title("sp|P69905|HBA_HUMAN Hemoglobin subunit alpha OS=Homo sapiens", "x.fasta")
    ('P69905', 'Hemoglobin subunit alpha OS=Homo sapiens')
    >>> split_title("contig/7 5'->3'", "x.fasta")
    ('contig/7', "5'->3'")
    """
    words = title.split(None, 1)
    if not words:
        raise UserError(
            f"{place}: expected an accession after '>', got a header without a word. Give the"
            " record a name: results are filed under it."
        )
    fields = words[0].split("|", 2)
    accession = fields[1] if len(fields) == 3 and fields[1] else words[0]
    description = words[1].rstrip() if len(words) == 2 else ""
    return _as_text(accession), _as_text(description)


def _as_text(latin1: str) -> str:
    """What the bytes mean: UTF-8 where they are that, else Latin-1, which any bytes are."""
    if latin1.isascii():
        return latin1
    try:
        return latin1.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return latin1


class _LineChecker:
    """Looks at each line on its way to Biopython, and remembers what that does not tell."""

    def __init__(self, where: str, first_line: int) -> None:
        self.where = where
        self.line_number = first_line - 1
        self.headers: deque[int] = deque()  # line numbers of headers that are not yet records
        self.spaced: deque[bool] = deque()  # of the same records: white space inside a line?

    def pass_on(self, lines: Iterator[str]) -> Iterator[str]:
        """The same lines, each checked."""
        started = False
        for line in lines:
            self.line_number += 1
            if "\0" in line:
                raise UserError(f"{self._place}: {_NUL}")
            if line[0] == ">":
                started = True
                self.headers.append(self.line_number)
                self.spaced.append(False)
            elif started:
                self._check_residues(line)
            elif line.strip():
                raise UserError(f"{self._place}: {not_fasta(line)}")
            yield line

    @property
    def _place(self) -> str:
        return f"{self.where}, line {self.line_number:,}"

    def _check_residues(self, line: str) -> None:
        if ">" in line:
            raise UserError(
                f"{self._place}: expected residues, got '>' inside the line ({line[:40]!r}). A line"
                " break before the header was probably lost, as when files that do not end in one"
                " are joined."
            )
        if len(line.split()) > 1:
            self.spaced[-1] = True


_NUL = (
    "expected text, got a NUL byte. The file was damaged (a copy that broke off can leave"
    " holes), or it is UTF-16: write it again, as plain text."
)


def not_fasta(line: str) -> str:
    """Say what a first line that is no header may be, and the cure."""
    start = line.lstrip()
    guesses = {
        "@": "This looks like FASTQ: translate reads to proteins first.",
        "<": "This looks like XML or HTML, perhaps an error page saved by a download.",
        "ID ": "This looks like a Swiss-Prot flat file: read it with the format 'flat'.",
        ";": "Comment lines (';') are not read: remove them.",
        "PK": "This looks like a .zip archive: unpack it, or compress it with gzip.",
        "BZh": "This looks like a .bz2 file: unpack it, or compress it with gzip.",
        "\xfd7zXZ": "This looks like an .xz file: unpack it, or compress it with gzip.",
        "(\xb5/\xfd": "This looks like a .zst file: unpack it, or compress it with gzip.",
    }
    guess = next((told for mark, told in guesses.items() if start.startswith(mark)), "")
    return f"expected a FASTA header that begins with '>', got {line[:40]!r}. " + (
        guess or "Remove the text before the first header, or name a FASTA file."
    )
