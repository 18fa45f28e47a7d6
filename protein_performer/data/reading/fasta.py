"""FASTA text -> records, with nothing mended in silence."""

from collections.abc import Iterator

from protein_performer.data.reading.record import ReadCounts, Record
from protein_performer.errors import UserError


def parse_fasta(
    text: bytes, where: str, counts: ReadCounts, *, first_line: int
) -> Iterator[Record]:
    r"""Records of some text that begins with a header, in order; those before a fault come first.

    Args:
        text: whole records; read as Latin-1 (any bytes are). Only "\n" ends a line.
        where: the file's name, for errors.
        counts: where records and oddities are counted.
        first_line: the number of the first line in its file.

    Raises: UserError, naming the line, for a header without an accession, `>` inside a line, and a
        NUL byte.
    """
    line = first_line
    for entry in text.decode("latin-1").removeprefix(">").split("\n>"):
        title, _, body = entry.partition("\n")
        title, place = title.rstrip(), f"{where}, line {line:,}"
        check_residues(body, where, line + 1)
        _check_title(title, place)
        line += entry.count("\n") + 1
        accession, description = split_title(as_text(title))
        sequence = "".join(body.split())
        if not title.isascii():
            counts.note("non_ascii", f"{place} ({accession})")
        if not sequence:
            counts.note("empty", f"{place} ({accession})")
            continue
        if any(len(each.split()) > 1 for each in body.split("\n")):
            counts.note("spaced", f"{place} ({accession})")
        counts.records += 1
        counts.residues += len(sequence)
        yield Record(accession, description, sequence)


def empty_file(where: str) -> UserError:
    """The error of a file without records."""
    return UserError(f"{where}: expected proteins, got an empty file. Was its download finished?")


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


def check_residues(lines: str, where: str, first_line: int) -> None:
    """Raise UserError for lines of residues with a NUL byte or `>` in them, naming the first."""
    if "\0" not in lines and ">" not in lines:
        return
    for number, line in enumerate(lines.split("\n"), start=first_line):
        place = f"{where}, line {number:,}"
        if "\0" in line:
            raise UserError(f"{place}: expected residues, got {_shown(line)}. {_NUL}")
        if ">" in line:
            raise UserError(
                f"{place}: expected residues, got '>' inside the line ({_shown(line)}). A line"
                " break before the header was probably lost, as when files that do not end in one"
                " are joined; or the file goes on as FASTQ, and these are qualities."
            )


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
