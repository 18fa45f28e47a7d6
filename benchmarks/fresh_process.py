"""Run a task in a fresh process on so many cores, and tell what it took.

A process of its own begins without anyone's freed memory, warm caches or threads. Anonymous memory
is what the process itself holds. The pages of mapped files are counted apart: they are the system's
cache, which it takes back when it needs memory, and which several processes share.
"""

import multiprocessing
import os
import resource
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.memory import highest_resident
from protein_performer.errors import UserError

_LOOK_EVERY = 0.01  # seconds between two looks at a process's memory


class Usage(NamedTuple):
    """What a task took.

    Attributes:
        result: what it returned.
        seconds: of wall time.
        cpu_seconds: of all its cores, those of its own child processes included.
        peak_bytes: the largest resident set of the process, mapped files included.
        peak_anonymous_bytes: the largest anonymous part of it that was seen; where the system does
            not tell it, `peak_bytes`.
    """

    result: Any
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    peak_anonymous_bytes: int


def in_fresh_process(task: Callable[..., object], *args: object, cores: int = 1) -> Usage:
    """Run a task.

    Args:
        task: a module's function; its module is imported before the clock starts.
        args: plain values.
        cores: that the process and its children may use, where the system can tell them so.

    Raises: UserError if the process was killed; the task's own UserError.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, cores, task, args))
    process.start()
    theirs.close()
    anonymous = 0
    try:
        while not ours.poll(_LOOK_EVERY):
            anonymous = max(anonymous, _anonymous_bytes(process.pid))
        answer = ours.recv()
    except EOFError:
        process.join()
        raise UserError(
            f"{task.__name__}: its process ended (exit code {process.exitcode}; -9: killed, perhaps"
            " for want of memory)"
        ) from None
    finally:
        process.terminate()  # only where this process was interrupted is there anything left
        process.join()
    if isinstance(answer, Exception):
        raise answer
    assert isinstance(answer, Usage)
    return answer._replace(peak_anonymous_bytes=anonymous or answer.peak_bytes)


def _serve(
    pipe: Connection, cores: int, task: Callable[..., object], args: tuple[object, ...]
) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    try:
        pipe.send(measured(task, *args))
    except UserError as error:
        pipe.send(error)


def measured(task: Callable[..., object], *args: object) -> Usage:
    """Run a task in this process; see `Usage`."""
    start, cpu_start = time.perf_counter(), _cpu_seconds()
    result = task(*args)
    seconds, cpu_seconds = time.perf_counter() - start, _cpu_seconds() - cpu_start
    peak = highest_resident()
    return Usage(result, seconds, cpu_seconds, peak, peak)


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _anonymous_bytes(pid: int | None) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # another system, or just ended
        return 0
    for line in status.splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0
