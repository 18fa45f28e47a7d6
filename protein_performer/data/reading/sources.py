"""From what the user names (files, globs, addresses) to streams of bytes."""

import glob
import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from protein_performer.addresses import is_address, public_address
from protein_performer.data.reading.compression import GZIP_MAGIC, gunzip
from protein_performer.data.reading.fasta import empty_file
from protein_performer.data.reading.record import ReadCounts
from protein_performer.data.reading.remote import address_size, expand_address, read_address
from protein_performer.errors import UserError

CHUNK = 1 << 18  # bytes read at once; small enough to stay in a core's cache with its text

Source = str | os.PathLike[str]


def expand(sources: Source | Sequence[Source]) -> list[str]:
    """Names in the order given, each glob replaced by its sorted matches.

    A name that exists is taken as it stands, even if it holds `*`, `?` or `[`.

    Raises: UserError for a missing file, a directory, a glob without a match, a file named twice,
        and no source at all.
    """
    if isinstance(sources, str | os.PathLike):
        sources = [sources]
    names = [name for source in sources for name in _expand_one(os.fspath(source))]
    if not names:
        raise UserError("sources: expected at least one file, got none")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UserError(
                f"{public_address(name)}: named twice among the sources; it would count double"
            )
        seen.add(name)
    return names


def _expand_one(name: str) -> list[str]:
    if is_address(name):
        return expand_address(name)
    if os.path.isdir(name):
        raise UserError(
            f"{name}: expected a file, got a directory. To read all in it: '{Path(name) / '*.gz'}';"
            " for folders of plain text, train with data=text"
        )
    if os.path.exists(name):
        return [name]
    if glob.has_magic(name):
        matches = sorted(each for each in glob.glob(name, recursive=True) if os.path.isfile(each))
        if not matches:
            raise UserError(f"{name}: no file matches this pattern (from {os.getcwd()})")
        return matches
    raise UserError(f"{name}: no such file (from {os.getcwd()})")


def inflated(name: str, counts: ReadCounts) -> Iterator[bytes]:
    """The file's bytes, decompressed if they are gzip (by the bytes, not by the name).

    Raises: UserError if the file cannot be read, is empty, is called .gz and is not, or is a
        truncated or corrupt gzip file.
    """
    shown = public_address(name)
    chunks = _read(name, counts)
    first = next(chunks, b"")
    if not first:
        raise empty_file(shown)
    chunks = chain([first], chunks)
    if first.startswith(GZIP_MAGIC):
        return gunzip(chunks, shown)
    if shown.endswith(".gz"):
        raise UserError(
            f"{shown}: expected gzip data, got {first[:20]!r}. If this is text, name it without"
            " '.gz'; if it was downloaded, it may be an error page: fetch it again."
        )
    return chunks


def size(name: str) -> int | None:
    """Bytes of a file or at an address, as stored; None if the server does not state it."""
    return address_size(name) if is_address(name) else os.path.getsize(name)


def _read(name: str, counts: ReadCounts) -> Iterator[bytes]:
    counts.files += 1
    for chunk in read_address(name) if is_address(name) else _read_file(name):
        counts.bytes_read += len(chunk)
        yield chunk


def _read_file(name: str) -> Iterator[bytes]:
    try:
        with open(name, "rb", buffering=0) as file:
            while chunk := file.read(CHUNK):
                yield chunk
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror or error})") from None
