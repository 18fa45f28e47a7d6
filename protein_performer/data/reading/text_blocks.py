"""A stream of text -> blocks of whole records, which any process can parse on its own.

Cutting costs little beside inflating, so that one reader can feed several parsers.
"""

import os
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from protein_performer.data.reading.fasta import LineChecker, empty_file, not_proteins
from protein_performer.errors import UserError

Format = Literal["fasta", "flat", "text"]

# In front of each record but the first: what a cut is made behind.
RECORD_ENDS: dict[Format, tuple[bytes, int]] = {"fasta": (b"\n>", 1), "flat": (b"\n//\n", 4)}
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
    mark, kept = RECORD_ENDS[format_]
    tail, waiting = [head], len(head)
    for piece in pieces:
        waiting += len(piece)
        cut = _last_cut(tail[-1], piece, mark, kept) if waiting >= _AT_LEAST else None
        if cut is None:
            tail.append(piece)
            if waiting > limit:
                failures.append(_too_long(tail, mark, kept, where, line))
                break
            continue
        text = b"".join([*tail, piece[:cut]])
        tail, waiting = [piece[cut:]], 0
        yield TextBlock(text, format_, where, line)
        # Three times as fast as text.count(b"\n"), which would be a tenth of all the reading.
        line += int(np.count_nonzero(np.frombuffer(text, dtype=np.uint8) == ord("\n")))
    rest = b"".join(tail)
    if not failures:
        if rest:
            rest += b"" if rest.endswith(b"\n") else b"\n"
            yield TextBlock(rest, format_, where, line)
        return
    cut = _last_cut(b"", rest, mark, kept) or 0
    if cut:
        yield TextBlock(rest[:cut], format_, where, line)
    if format_ == "fasta" and len(rest) - cut <= limit:
        line += rest.count(b"\n", 0, cut)
        LineChecker(where, line).look_at(rest[cut : rest.rfind(b"\n") + 1])
    raise failures[0]


def record_limit() -> int:
    """Bytes of text that a record may have.

    Raises: UserError if the variable `LIMIT_VARIABLE` of the environment is set, and no number.
    """
    stated = os.environ.get(LIMIT_VARIABLE, str(_LIMIT_MB))
    try:
        return int(float(stated) * 1e6)
    except (ValueError, OverflowError):
        raise UserError(f"{LIMIT_VARIABLE}: expected megabytes, got {stated!r}") from None


def _too_long(tail: list[bytes], mark: bytes, kept: int, where: str, line: int) -> UserError:
    text = b"".join(tail)
    found = text.rfind(mark)
    begin = found + kept if found >= 0 else 0
    line += text.count(b"\n", 0, begin)
    start = text[begin : begin + _SHOWN].split(b"\n")[0].decode("latin-1")
    return UserError(
        f"{where}, line {line:,}: expected a record of at most {record_limit() / 1e6:g} MB of text,"
        f" and the one that begins {start!r} has more. Is the file damaged, or meant to fill the"
        f" memory? If it is right, set {LIMIT_VARIABLE} to more megabytes."
    )


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
        if not began:  # let go of blank lines
            start = len(head) - len(head.lstrip(_BLANK))
            line_start = head.rfind(b"\n", 0, start) + 1
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
