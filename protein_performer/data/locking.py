"""One process at a time, also among those of other commands, through a lock file."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file while the block runs; wait while another process holds it.

    A process that ends, however that comes about, holds nothing any more; the file that it may
    leave behind is taken over. The folder must exist and be writable.
    """
    while True:
        with path.open("a") as file:
            _wait_for(file.fileno(), path)
            if not _is_still(file.fileno(), path):
                continue  # the holder removed it when it was done: there may be a new one
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _wait_for(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.info("waiting for another process that holds %s", path)
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _is_still(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
