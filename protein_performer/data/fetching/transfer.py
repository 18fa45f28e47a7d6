"""Files that arrive whole or not at all, go on after a break, and say where they are from."""

import hashlib
import json
import logging
import os
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

from rich.progress import DownloadColumn, Progress, TransferSpeedColumn
from urllib3.util import Retry

from protein_performer.addresses import public_address
from protein_performer.data.reading.http_client import RETRY, read_pieces
from protein_performer.errors import UserError
from protein_performer.files import locked, replacing

log = logging.getLogger(__name__)


class Expected(NamedTuple):
    """What the publisher says of a file."""

    size: int  # bytes
    md5: str  # hexadecimal


def download(
    url: str,
    target: str | os.PathLike[str],
    *,
    expected: Expected | None = None,
    retry: Retry = RETRY,
    progress: bool = True,
) -> Path:
    """Fetch a file to `target`, which is there only when it is whole.

    Until then the bytes are in `target.part`; called again after a break of any kind, the transfer
    goes on behind them if the server can send a part and the file is still the same there. Of
    several processes one fetches, and the others wait.

    Args:
        url: an http(s) address.
        target: a file's name; its folder is made. A file that is there already is kept.
        expected: size and checksum to compare with.
        retry: how often to try, and how long to wait.
        progress: whether to show a bar.

    Returns: the target's path.
    Raises: UserError if the server refuses, cannot be reached for long, or sends other bytes than
        expected (these are thrown away).
    """
    target = Path(target)

    def fill(part: Part) -> None:
        if expected is None or part.size != expected.size:
            _fetch(part, url, retry, progress)
        if expected is not None:
            _verify(part, url, expected)

    return fetch_once(target, fill, lambda: _keep(target, expected))


def fetch_once(target: Path, fill: Callable[["Part"], None], keep: Callable[[], None]) -> Path:
    """Have one process fill a file's part and give it its name; if it is there, `keep` it."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_name(f".{target.name}.lock")):
            if not target.exists():  # no other process was faster
                part = Part(target)
                fill(part)
                with part.open() as file:
                    os.fsync(file.fileno())
                part.path.replace(target)
                part.note_path.unlink(missing_ok=True)
                return target
    keep()
    return target


def write_origin(target: Path, **facts: str | int) -> None:
    """Say where a file is from, in the file beside it."""
    with replacing(origin_path(target)) as partial:
        partial.write_text(json.dumps(facts, indent=2) + "\n")


def origin_path(target: Path) -> Path:
    """The file beside another one that says where that is from."""
    return target.with_name(target.name + ".json")


def byte_bar(*, shown: bool = True) -> Progress:
    """A bar whose tasks count bytes, with their speed and the time that is left."""
    columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, disable=not shown)


def _keep(target: Path, expected: Expected | None) -> None:
    size = target.stat().st_size
    if expected is not None and size != expected.size:
        raise UserError(
            f"{target}: there already, with {size:,} bytes; the current release has"
            f" {expected.size:,}. It is probably of another release: move it away to fetch this"
            " one, or go on using it."
        )
    log.info("%s is there already (%s bytes)", target, f"{size:,}")


class Part:
    """What has arrived of a file, and a note that says of what file, or how far that is."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self.note_path = target.with_name(target.name + ".part.note")

    @property
    def size(self) -> int:
        """Bytes that have arrived."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def note(self) -> str:
        """What was noted last; "" if nothing was."""
        return self.note_path.read_text() if self.note_path.exists() else ""

    @note.setter
    def note(self, text: str) -> None:
        with replacing(self.note_path) as partial:
            partial.write_text(text)

    def open(self) -> BinaryIO:
        """Open what has arrived, to read and write; made if it is not there.

        Raises: UserError where it is a link: what that points at is not ours to write.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        try:
            return os.fdopen(os.open(self.path, flags, 0o666), "r+b")
        except OSError as error:
            raise UserError(
                f"{self.path}: expected a file of bytes that have arrived, which cannot be opened"
                f" ({error.strerror}). Remove it, or name another folder."
            ) from None

    def throw_away(self) -> None:
        """Remove what has arrived."""
        self.path.unlink(missing_ok=True)
        self.note_path.unlink(missing_ok=True)


def _fetch(part: Part, url: str, retry: Retry, progress: bool) -> None:
    """Get all bytes, however often the connection breaks; the note is the tag of their file."""
    tag = part.note
    pieces = read_pieces(url, part.size if tag else 0, tag, retry=retry)
    head = next(pieces)  # nothing is written where the server refuses
    with part.open() as file, byte_bar(shown=progress) as bar:
        task = bar.add_task(part.target.name, total=None)
        for piece in chain([head], pieces):
            if not piece.content:  # an answer begins
                file.seek(piece.begin)
                file.truncate()
                part.note = piece.tag
                bar.update(task, total=piece.size)
            file.write(piece.content)
            bar.update(task, completed=file.tell())


def _verify(part: Part, url: str, expected: Expected) -> None:
    """Compare size and MD5 with the publisher's; throw the bytes away if they differ."""
    size = part.size
    md5 = _md5(part.path) if size == expected.size else "not computed"
    if (size, md5) != (expected.size, expected.md5.lower()):
        part.throw_away()
        raise UserError(
            f"{public_address(url)}: expected {expected.size:,} bytes with MD5 {expected.md5},"
            f" got {size:,} with MD5 {md5}. The bytes were thrown away. They were damaged on"
            " their way, or a new release appeared meanwhile: run the same command again."
        )


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.md5(usedforsecurity=False)
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
