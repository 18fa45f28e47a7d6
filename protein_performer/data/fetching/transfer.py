"""Large files over HTTP that arrive whole or not at all, and go on after a break."""

import hashlib
import logging
import os
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

from rich.progress import Progress, TaskID
from urllib3.util import Retry

from protein_performer.addresses import public_address
from protein_performer.data.fetching.byte_bar import byte_bar
from protein_performer.data.reading.http_client import RETRY, read_pieces
from protein_performer.errors import UserError
from protein_performer.files import locked

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
    if target.exists():
        return _keep(target, expected)
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.with_name(f".{target.name}.lock")), byte_bar(shown=progress) as bar:
        if target.exists():  # another process was faster
            return _keep(target, expected)
        part = _Part(target)
        if expected is None or part.size != expected.size:
            part.fetch(url, retry, bar, bar.add_task(target.name, total=None))
        if expected is not None:
            part.verify(url, expected)
        part.finish()
    return target


def _keep(target: Path, expected: Expected | None) -> Path:
    size = target.stat().st_size
    if expected is not None and size != expected.size:
        raise UserError(
            f"{target}: there already, with {size:,} bytes; the current release has"
            f" {expected.size:,}. It is probably of another release: move it away to fetch this"
            " one, or go on using it."
        )
    log.info("%s is there already (%s bytes)", target, f"{size:,}")
    return target


class _Part:
    """The bytes that have arrived, and the tag of the file that they are of."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self.tag_path = target.with_name(target.name + ".part.tag")

    @property
    def size(self) -> int:
        """Bytes that have arrived; 0 where it is not known of which state of the file."""
        known = self.path.exists() and self.tag_path.exists()
        return self.path.stat().st_size if known else 0

    def fetch(self, url: str, retry: Retry, bar: Progress, task: TaskID) -> None:
        """Get all bytes, however often the connection breaks."""
        begin = self.size
        tag = self.tag_path.read_text() if begin else ""
        pieces = read_pieces(url, begin if tag else 0, tag, retry=retry)
        head = next(pieces)  # nothing is written where the server refuses
        with open_part(self.path) as file:
            for piece in chain([head], pieces):
                if not piece.content:  # an answer begins
                    file.seek(piece.begin)
                    file.truncate()
                    self.tag_path.write_text(piece.tag)
                    bar.update(task, total=piece.size)
                file.write(piece.content)
                bar.update(task, completed=file.tell())

    def verify(self, url: str, expected: Expected) -> None:
        """Compare size and MD5 with the publisher's; throw the bytes away if they differ."""
        size = self.path.stat().st_size
        md5 = _md5(self.path) if size == expected.size else "not computed"
        if (size, md5) != (expected.size, expected.md5.lower()):
            self.path.unlink()
            self.tag_path.unlink(missing_ok=True)
            raise UserError(
                f"{public_address(url)}: expected {expected.size:,} bytes with MD5 {expected.md5},"
                f" got {size:,} with MD5 {md5}. The bytes were thrown away. They were damaged on"
                " their way, or a new release appeared meanwhile: run the same command again."
            )

    def finish(self) -> None:
        """Give the file its name, in one step, once it is on the disk."""
        with self.path.open("r+b") as file:
            os.fsync(file.fileno())
        self.path.replace(self.target)
        self.tag_path.unlink(missing_ok=True)


def open_part(path: Path) -> BinaryIO:
    """Open a file that grows under its own name, to read and write; made if it is not there.

    Raises: UserError where it is a link: what that points at is not ours to write.
    """
    try:
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "r+b")
    except OSError as error:
        raise UserError(
            f"{path}: expected a file of bytes that have arrived, which cannot be opened"
            f" ({error.strerror}). Remove it, or name another folder."
        ) from None


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.md5(usedforsecurity=False)
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
