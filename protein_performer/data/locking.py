"""One process at a time, also among those of other commands, through a lock file."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

log = logging.getLogger(__name__)


@contextmanager
def locked(path: Path, *, told: bool = True) -> Iterator[None]:
    """Hold a lock file while the block runs; wait while another process holds it.

    A process that ends, however that comes about, holds nothing any more; the file that it may
    leave behind is taken over. The folder must exist and be writable.

    Args:
        path: of the lock file.
        told: whether to log that another process holds it.
    """
    while True:
        with path.open("a") as file:
            if not _try(file):
                log.log(
                    logging.INFO if told else logging.DEBUG,
                    "waiting for another process that holds %s",
                    path,
                )
                fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_still(file, path):
                continue  # the holder removed it when it was done: there may be a new one
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


@contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """As `locked`, without waiting: False where another process holds the lock, or this one."""
    with path.open("a") as file:
        free = _try(file) and _is_still(file, path)
        try:
            yield free
        finally:
            if free:
                path.unlink(missing_ok=True)


def _try(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
