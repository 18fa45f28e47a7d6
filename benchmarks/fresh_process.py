"""Run a task in a process of its own and measure what it took.

A fresh process begins without freed memory, warm caches or threads. Anonymous memory is what the
process itself holds; pages of mapped files are the system's cache, which it takes back when it
needs memory, and which several processes share, so that they are counted apart.
"""

import contextlib
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from protein_performer.errors import UserError

_LOOK_EVERY = 0.01  # seconds between two looks at a process's memory


class Usage(NamedTuple):
    """What a task took.

    Attributes:
        result: what it returned.
        seconds: of wall time.
        cpu_seconds: of all its cores, those of its own child processes included.
        peak_bytes: the largest resident set of the process, mapped files included.
        peak_anonymous_bytes: the largest anonymous part that was seen; `peak_bytes` where the
            system does not report it.
    """

    result: Any
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    peak_anonymous_bytes: int


def in_fresh_process(
    task: Callable[..., object],
    *args: object,
    cores: int | None = None,
    preload: Sequence[str] | None = None,
) -> Usage:
    """Run `task(*args)`.

    Args:
        task: a module's function; its module is imported before the clock starts.
        args: plain values.
        cores: that the process and its children may use, where the system can limit them.
        preload: modules that are imported once, in a process that those of all tasks are copies
            of: saves seconds a task. None for a process whose heap is its own from the start.

    Raises: UserError if the process was killed; the task's own UserError.
    """
    copies = preload is not None and "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if copies else "spawn")
    context.set_forkserver_preload(list(preload or ()))
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, cores, task, args))  # type: ignore[attr-defined]
    process.start()
    theirs.close()
    anonymous = 0
    try:
        while not ours.poll(_LOOK_EVERY):
            anonymous = max(anonymous, _from_status(f"/proc/{process.pid}/status", "RssAnon:"))
        answer = ours.recv()
    except EOFError:
        process.join()
        raise UserError(
            f"{task.__name__}{args}: its process ended (exit code {process.exitcode}; -9: killed,"
            " probably for want of memory)"
        ) from None
    finally:
        process.terminate()  # only where this process was interrupted is there anything left
        process.join()
    if isinstance(answer, Exception):
        raise answer
    assert isinstance(answer, Usage)
    return answer._replace(peak_anonymous_bytes=anonymous or answer.peak_bytes)


def _serve(
    pipe: Connection, cores: int | None, task: Callable[..., object], args: tuple[object, ...]
) -> None:
    if cores is not None and hasattr(os, "sched_setaffinity"):
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


def growth(prepare: Callable[..., Callable[[], object]], *args: object) -> int:
    """Bytes by which the resident set grows at most while the step of `prepare(*args)` runs.

    A task for `in_fresh_process`. The step's inputs are there before; its outputs, gradients and
    all that it borrows in between count.
    """
    step = prepare(*args)
    before = highest_resident(reset=True)
    result = step()
    peak = highest_resident() - before
    del result
    return peak


def highest_resident(*, reset: bool = False) -> int:
    """The largest resident set of this process so far, bytes; after a reset, the current one.

    Linux resets its mark on request. Elsewhere, or where that is forbidden, the mark stands from
    the process's start: it is too high, and `growth` too low, only by what preparation had freed.
    """
    if reset:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # see proc(5): resets VmHWM
    highest = _from_status("/proc/self/status", "VmHWM:")
    if highest:
        return highest
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _from_status(path: str, name: str) -> int:
    """Bytes; 0 on another system, or where the process has just ended."""
    with contextlib.suppress(OSError):
        for line in Path(path).read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
