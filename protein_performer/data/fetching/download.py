"""Large files over HTTP that arrive whole or not at all, and go on after a break."""

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rich.progress import Progress, TaskID

from protein_performer.data.fetching.byte_bar import byte_bar
from protein_performer.data.fetching.transfer import Broken, NoSuchPart, Patience, body, get
from protein_performer.data.locking import locked
from protein_performer.errors import UserError

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
    patience: Patience | None = None,
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
        patience: how long to try.
        progress: whether to show a bar.

    Returns: the target's path.
    Raises: UserError if the server refuses, cannot be reached for long, or sends other bytes than
        expected (these are thrown away).
    """
    target = Path(target)
    if target.exists():
        return _keep(target, expected)
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        locked(target.with_name(f".{target.name}.lock")),
        _bar(target.name, progress) as (bar, task),
    ):
        if target.exists():  # another process was faster
            return _keep(target, expected)
        part = _Part(target, expected)
        part.fetch(url, patience or Patience(), bar, task)
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

    def __init__(self, target: Path, expected: Expected | None) -> None:
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self.tag_path = target.with_name(target.name + ".part.tag")
        self.expected = expected

    @property
    def size(self) -> int:
        """Bytes that have arrived and are of use."""
        size = self.path.stat().st_size if self.path.exists() else 0
        known = self._tag or self.expected is not None
        return size if known else 0  # of which file, or of which state of it, nobody could tell

    @property
    def _tag(self) -> str:
        return self.tag_path.read_text() if self.tag_path.exists() else ""

    def fetch(self, url: str, patience: Patience, bar: Progress, task: TaskID) -> None:
        """Get all bytes, however often the connection breaks."""
        fruitless, furthest = 0, self.size
        while True:
            before = self.size
            if self.expected is not None and before == self.expected.size:
                return
            try:
                self._fetch_rest(url, before, patience, bar, task)
                return
            except NoSuchPart:
                self.remove()
            except Broken as error:
                # A server without parts begins anew each time: only new ground counts.
                fruitless = 0 if self.size > furthest else fruitless + 1
                furthest = max(furthest, self.size)
                if fruitless >= patience.attempts:
                    raise UserError(
                        f"{url}: broke off {fruitless} times without a byte gained ({error})."
                        f" {self.size:,} bytes are kept in {self.path}: the same command goes on."
                    ) from None
                patience.wait(fruitless, f"{url}: {error}")

    def _fetch_rest(
        self, url: str, begin: int, patience: Patience, bar: Progress, task: TaskID
    ) -> None:
        headers = {"Accept-Encoding": "identity"}
        if begin:
            headers["Range"] = f"bytes={begin}-"
            if self._tag:
                headers["If-Range"] = self._tag
        response = get(url, patience, headers)
        if response.status != 206:
            begin = 0  # the whole file: the server knows no parts, or the file is another one now
        self._remember(response.headers.get("ETag"), response.headers.get("Last-Modified"))
        told = response.headers.get("Content-Length")
        bar.update(task, completed=begin, total=begin + int(told) if told else None)
        with self.path.open("r+b" if begin else "wb") as file:
            file.seek(begin)
            file.truncate()
            for piece in body(response):
                file.write(piece)
                bar.update(task, advance=len(piece))

    def _remember(self, etag: str | None, modified: str | None) -> None:
        strong = etag if etag and not etag.startswith("W/") else None
        self.tag_path.write_text(strong or modified or "")

    def verify(self, url: str, expected: Expected) -> None:
        """Compare size and MD5 with the publisher's; throw the bytes away if they differ."""
        size = self.path.stat().st_size
        md5 = _md5(self.path) if size == expected.size else "not computed"
        if (size, md5) != (expected.size, expected.md5.lower()):
            self.remove()
            raise UserError(
                f"{url}: expected {expected.size:,} bytes with MD5 {expected.md5}, got {size:,}"
                f" with MD5 {md5}. The bytes were thrown away. They were damaged on their way, or"
                " a new release appeared meanwhile: run the same command again."
            )

    def finish(self) -> None:
        """Give the file its name, in one step, once it is on the disk."""
        with self.path.open("r+b") as file:
            os.fsync(file.fileno())
        self.path.replace(self.target)
        self.tag_path.unlink(missing_ok=True)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.tag_path.unlink(missing_ok=True)


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


@contextmanager
def _bar(name: str, shown: bool) -> Iterator[tuple[Progress, TaskID]]:
    with byte_bar(shown=shown) as bar:
        yield bar, bar.add_task(name, total=None)
