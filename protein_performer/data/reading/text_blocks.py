"""A stream of text -> blocks of whole records, which any process can parse on its own.

Cutting costs little beside inflating, so that one reader can feed several parsers.
"""

import os
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from protein_performer.data.reading.fasta import check_residues, empty_file, not_proteins
from protein_performer.errors import UserError

Format = Literal["fasta", "flat", "text"]

# In front of each record but the first: what a cut is made behind.
_RECORD_ENDS: dict[Format, tuple[bytes, int]] = {"fasta": (b"\n>", 1), "flat": (b"\n//\n", 4)}
_BLANK = bytes(code for code in range(256) if chr(code).isspace())
_AT_LEAST = 1 << 16  # bytes of a block: many records, so that the cost of a block does not count
_ENOUGH = (
    1000  # bytes of an unfinished first line in which its format shows as well as in all of it
)

# A few kilobytes of gzip can hold gigabytes: what is longer than any protein ends in an error.
LIMIT_VARIABLE = "PROTEIN_PERFORMER_MAX_RECORD_MB"
_LIMIT_MB = 64.0
_SHOWN = 40  # letters of a record in an error


class TextBlock(NamedTuple):
    r"""Whole records of one file as text; every line ends in "\n". Plain and picklable.

    Attributes:
        text: begins at the first line of a record; some hundred kilobytes, or one long record.
        format: "fasta", "flat" (Swiss-Prot and TrEMBL flat files, `.dat`), or "text", a whole file
            as it is (see `books`).
        where: the file's name, for errors.
        first_line: the number of the text's first line in the file, from 1.
    """

    text: bytes
    format: Format
    where: str
    first_line: int

    def record_begins(self) -> list[int]:
        """Where each record begins in the text."""
        mark, kept = _RECORD_ENDS[self.format]
        found = (each.start() + kept for each in re.finditer(re.escape(mark), self.text))
        return [0, *(begin for begin in found if begin < len(self.text))]

    def part(self, begin: int, end: int | None = None) -> "TextBlock":
        """The records between two places of the text, as a block."""
        line = self.first_line + self.text.count(b"\n", 0, begin)
        return self._replace(text=self.text[begin:end], first_line=line)


def cut_blocks(chunks: Iterator[bytes], where: str) -> Iterator[TextBlock]:
    """Cut a file's bytes between records, holding a chunk and the longest record.

    Args:
        chunks: the file's (inflated) bytes, cut anywhere; line ends of any system.
        where: the file's name, for errors.

    Raises: UserError, for a file that begins neither as FASTA nor as a flat file. An error of
        `chunks` is raised after the blocks and the faults in front of it.
    """
    failures: list[UserError] = []
    limit = record_limit()
    pieces = _until_failure(unix_line_ends(chunks), failures)
    format_, head, line = _begin(pieces, where, failures)
    mark, kept = _RECORD_ENDS[format_]
    tail, waiting, too_long = [head], len(head), False
    for piece in pieces:
        waiting += len(piece)
        cut = _last_cut(tail[-1], piece, mark, kept) if waiting >= _AT_LEAST else None
        if cut is None:
            tail.append(piece)
            too_long = waiting > limit
            if too_long:
                break
            continue
        text = b"".join([*tail, piece[:cut]])
        tail, waiting = [piece[cut:]], 0
        yield TextBlock(text, format_, where, line)
        # Three times as fast as text.count(b"\n"), which would be a tenth of all the reading.
        line += int(np.count_nonzero(np.frombuffer(text, dtype=np.uint8) == ord("\n")))
    rest = TextBlock(b"".join(tail), format_, where, line)
    if not failures and not too_long:
        if rest.text:
            end = b"" if rest.text.endswith(b"\n") else b"\n"
            yield rest._replace(text=rest.text + end)
        return
    cut = _last_cut(b"", rest.text, mark, kept) or 0
    if cut:
        yield rest.part(0, cut)
    raise _unfinished(rest.part(cut), limit, failures)


def _unfinished(record: TextBlock, limit: int, failures: list[UserError]) -> UserError:
    """What is wrong with a record that the text ends in."""
    if not failures:
        start = record.text[:_SHOWN].split(b"\n")[0].decode("latin-1")
        return UserError(
            f"{record.where}, line {record.first_line:,}: expected a record of at most"
            f" {limit / 1e6:g} MB of text, and the one that begins {start!r} has more. Is the file"
            f" damaged, or meant to fill the memory? If it is right, set {LIMIT_VARIABLE} to more"
            " megabytes."
        )
    if record.format == "fasta":  # of whole lines
        body = record.text.rpartition(b"\n")[0].partition(b"\n")[2]
        check_residues(body.decode("latin-1"), record.where, record.first_line + 1)
    return failures[0]


def record_limit() -> int:
    """Bytes of text that a record may have.

    Raises: UserError if the variable `LIMIT_VARIABLE` of the environment is set, and no number.
    """
    stated = os.environ.get(LIMIT_VARIABLE, str(_LIMIT_MB))
    try:
        return int(float(stated) * 1e6)
    except (ValueError, OverflowError):
        raise UserError(f"{LIMIT_VARIABLE}: expected megabytes, got {stated!r}") from None


def unix_line_ends(chunks: Iterator[bytes]) -> Iterator[bytes]:
    r"""The same bytes with "\r\n" and "\r" made "\n"."""
    held = b""
    for chunk in chunks:
        if b"\r" in chunk or held:
            chunk, held = held + chunk, b""
            if chunk.endswith(b"\r"):
                chunk, held = chunk[:-1], b"\r"
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if chunk:
            yield chunk
    if held:
        yield b"\n"


def _until_failure(pieces: Iterator[bytes], failures: list[UserError]) -> Iterator[bytes]:
    """End the stream at an error and keep it, so that what came before is looked at first."""
    try:
        yield from pieces
    except UserError as error:
        failures.append(error)


def _begin(
    pieces: Iterator[bytes], where: str, failures: list[UserError]
) -> tuple[Format, bytes, int]:
    """The format, the text from the first record on as far as read, and its line number."""
    head, first_line, began = b"", 1, False
    for piece in pieces:
        head += piece
        start = len(head) - len(head.lstrip(_BLANK))
        line_start = head.rfind(b"\n", 0, start) + 1  # blank lines are let go of
        first_line += head.count(b"\n", 0, line_start)
        began = start < len(head)
        head = head[line_start:] if began else head[line_start:][-_ENOUGH:]
        if began and (b"\n" in head or len(head) > _ENOUGH):
            break
    if failures and b"\n" not in head:
        raise failures[0]
    if not began:
        raise empty_file(where)
    if head.startswith(b">"):
        return "fasta", head, first_line
    if head.startswith(b"ID   "):
        return "flat", head, first_line
    raise not_proteins(head.decode("latin-1"), f"{where}, line {first_line:,}")


def _last_cut(before: bytes, piece: bytes, mark: bytes, kept: int) -> int | None:
    """How much of `piece` lies in front of the last cut; None if there is no place for one.

    The cut is `kept` bytes behind the start of `mark`, which may begin in `before`.
    """
    found = piece.rfind(mark)
    if found >= 0:
        return found + kept
    overlap = before[-(len(mark) - 1) :]
    found = (overlap + piece[: len(mark) - 1]).rfind(mark)
    return found + kept - len(overlap) if found >= 0 else None
