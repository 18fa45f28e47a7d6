"""FASTA text -> records, by Biopython's parser with the checks that it leaves out.

Biopython skips text before the first header, takes a FASTQ file for an empty one, and removes
spaces without a word. Here each line is looked at on its way to Biopython.
"""

import io
from collections import deque
from collections.abc import Generator, Iterable, Iterator

from Bio.SeqIO.FastaIO import SimpleFastaParser

from protein_performer.data.reading.record import ReadCounts, Record
from protein_performer.errors import UserError


def parse_fasta(lines: Iterable[str], where: str, counts: ReadCounts) -> Iterator[Record]:
    """Records of a whole FASTA file, in order: the reference that faster ways must agree with.

    Args:
        lines: decoded as Latin-1 (any bytes are), line ends made one as Python's text files do.
        where: the file's name, for errors.
        counts: where records and oddities are counted.

    Raises: UserError, naming the line, for text before the first header, a file without any
        text, a header without an accession, `>` inside a line, a NUL byte.
    """
    found = yield from parse_lines(lines, where, counts, first_line=1)
    if not found:
        raise empty_file(where)


def empty_file(where: str) -> UserError:
    """The error of a file without records."""
    return UserError(f"{where}: expected proteins, got an empty file. Was its download finished?")


def parse_lines(
    lines: Iterable[str], where: str, counts: ReadCounts, *, first_line: int
) -> Generator[Record, None, bool]:
    """Records of consecutive whole records whose first line has the number `first_line`.

    Returns (as a generator does) whether there was any header.
    """
    checker = LineChecker(where, first_line)
    title = None
    parser = SimpleFastaParser(checker.pass_on(lines))  # type: ignore[no-untyped-call]
    for title, sequence in parser:
        line_number, spaced = checker.headers.popleft(), checker.spaced.popleft()
        place = f"{where}, line {line_number:,}"
        _check_title(title, place)
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
    return title is not None


def as_lines(text: bytes) -> Iterable[str]:
    r"""The lines of some text, each with its "\n"; nothing else ends a line."""
    return io.StringIO(text.decode("latin-1"), newline="\n")


def split_title(title: str) -> tuple[str, str]:
    """Accession and description out of a header without its `>`; ("", "") if it has no word.

    >>> split_title("sp|P69905|HBA_HUMAN Hemoglobin subunit alpha OS=Homo sapiens")
    ('P69905', 'Hemoglobin subunit alpha OS=Homo sapiens')
    >>> split_title("contig/7 5'->3'")
    ('contig/7', "5'->3'")
    """
    words = title.split(None, 1)
    if not words:
        return "", ""
    accession = words[0]
    if "|" in accession:
        fields = accession.split("|", 2)
        if len(fields) == 3 and fields[1]:
            accession = fields[1]
    return accession, words[1].rstrip() if len(words) == 2 else ""


def _check_title(title: str, place: str) -> None:
    if "\0" in title:
        raise UserError(f"{place}: expected a header, got {_shown(title)}. {_NUL}")
    if not title.strip():
        raise UserError(
            f"{place}: expected an accession after '>', got a header without a word. Give the"
            " record a name: results are filed under it."
        )


def as_text(latin1: str) -> str:
    """What bytes that were read as Latin-1 mean: UTF-8 where they are that, else Latin-1."""
    try:
        return latin1.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return latin1


class LineChecker:
    """Looks at each line on its way to Biopython, and remembers what that does not report."""

    def __init__(self, where: str, first_line: int) -> None:
        self.where = where
        self.line_number = first_line - 1
        self.headers: deque[int] = deque()  # line numbers of headers that are not yet records
        self.spaced: deque[bool] = deque()  # of the same records: white space inside a line?

    def look_at(self, text: bytes) -> None:
        """Raise what `pass_on` raises, for whole lines that make no record."""
        for _ in self.pass_on(as_lines(text)):
            pass

    def pass_on(self, lines: Iterable[str]) -> Iterator[str]:
        """The same lines, each checked."""
        started = False
        for line in lines:
            self.line_number += 1
            if line[0] == ">":
                started = True
                self.headers.append(self.line_number)
                self.spaced.append(False)
            elif started:
                self._check_residues(line)
            elif line.strip():
                raise not_proteins(line, self._place)
            yield line

    @property
    def _place(self) -> str:
        return f"{self.where}, line {self.line_number:,}"

    def _check_residues(self, line: str) -> None:
        if "\0" in line:
            raise UserError(f"{self._place}: expected residues, got {_shown(line)}. {_NUL}")
        if ">" in line:
            raise UserError(
                f"{self._place}: expected residues, got '>' inside the line ({_shown(line)}). A"
                " line break before the header was probably lost, as when files that do not end in"
                " one are joined; or the file goes on as FASTQ, and these are qualities."
            )
        if len(line.split()) > 1:
            self.spaced[-1] = True


_SHOWN = 40  # letters of a faulty line in an error
_NUL = (
    "There are NUL bytes: the file was damaged (a copy that broke off can leave holes), or it is"
    " UTF-16. Write it again, as plain text."
)


def _shown(line: str) -> str:
    return repr(line.split("\n", 1)[0][:_SHOWN])


def not_proteins(start: str, place: str) -> UserError:
    """The error of a file that begins with `start`: what that may be, and the cure."""
    guesses = {
        "@": "This looks like FASTQ: translate reads to proteins first.",
        "<": "This looks like XML or HTML, perhaps an error page saved by a download.",
        "{": "This looks like JSON: ask the source for FASTA.",
        ";": "Comment lines (';') are not read: remove them.",
        "\xef\xbb\xbf": "It begins with a byte order mark (UTF-8): save it without one.",
        "PK": "This looks like a .zip archive: unpack it, or compress it with gzip.",
        "BZh": "This looks like a .bz2 file: unpack it, or compress it with gzip.",
        "\xfd7zXZ": "This looks like an .xz file: unpack it, or compress it with gzip.",
        "(\xb5/\xfd": "This looks like a .zst file: unpack it, or compress it with gzip.",
    }
    guess = next((cause for mark, cause in guesses.items() if start.startswith(mark)), "")
    if "\0" in start.split("\n", 1)[0][:_SHOWN] and not guess:
        guess = _NUL
    return UserError(
        f"{place}: expected FASTA (a header that begins with '>') or a Swiss-Prot flat file ('ID'),"
        f" got {_shown(start)}. {guess or 'Remove the text before the first record.'}"
    )
