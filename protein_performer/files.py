"""Files that are whole at every moment, and those that one process at a time may write.

A file is written beside its place and put there in one step. A lock keeps other processes out of a
folder, those of other commands included.
"""

import errno
import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from protein_performer.errors import UserError

log = logging.getLogger(__name__)

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the system does not say where
ABANDONED = 24 * 3600  # seconds without a change, after which a partial file is nobody's any more


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """The path of a new, empty file that takes the place of `path` when the block ends well.

    Readers see the old content or the new one, never a part of it, also if the process is killed
    or the disk is full. If the block raises, the new file is removed and `path` stays as it was.
    The file is created under a name that nobody could foresee, so what another user left in the
    folder (a link, for example) is never written through; a `path` that is a link itself is
    replaced, and what it points at stays. What a killed process left behind is removed a day later.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(f"{folder}/figures.json") as partial:
    ...         _ = partial.write_text("{}")
    ...     os.listdir(folder)
    ['figures.json']
    """
    path = Path(path)
    _remove_abandoned(path)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    # With the permissions that any new file has; tempfile's would be for the owner only.
    os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield partial
        _sync(partial)
        partial.replace(path)
        _sync(path.parent)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


@contextmanager
def locked(path: Path, *, busy: str | None = None) -> Iterator[None]:
    """Hold a lock file while the block runs; wait, and say so, while another process holds it.

    A process that ends, however that comes about, holds nothing any more. The file itself stays:
    who removed it would let two processes in. Its folder must exist and be writable.

    Args:
        path: of the lock file.
        busy: what to raise, as a `UserError`, instead of waiting.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if busy is not None:
            raise UserError(busy) from None
        log.info("waiting for another process that holds %s", path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _sync(path: Path) -> None:
    """Wait until the disk has it: else a crash of the machine may keep the name and lose the rest.

    For folders only where the system can.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        if path.is_dir():  # Windows opens no folders
            return
        raise
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_abandoned(path: Path) -> None:
    for partial in path.parent.glob(f".{_literal(path.name)}.*.partial"):
        try:
            if time.time() - partial.lstat().st_mtime > ABANDONED:
                partial.unlink()
        except FileNotFoundError:  # another process was faster
            continue


def _literal(name: str) -> str:
    """The name as a pattern that matches itself only."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)
