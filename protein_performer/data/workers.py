"""Processes that make batches or tokens end with the process that started them, however it ends."""

import multiprocessing
import os
import threading
from multiprocessing.connection import wait
from typing import Any


def end_with_parent(*_: Any) -> None:
    """Watch the parent from now on, in a thread; to be called first in a worker process.

    A worker that is handing over what it made waits for a reader. Where that was killed, it would
    wait for good: other workers hold the same pipe open. PyTorch looks at the parent only between
    two batches. The arguments that loaders and executors give are not needed.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:  # None in a process that was not started by this library
        threading.Thread(target=_wait_for_end, args=(parent.sentinel,), daemon=True).start()


def _wait_for_end(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
