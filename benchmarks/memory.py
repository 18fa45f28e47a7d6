"""Peak memory of one call, in a process of its own.

The growth of the resident set while the call runs, its inputs already there: outputs, gradients
and everything kept or borrowed in between. A fresh process has no freed memory to hide it in.
"""

import contextlib
import multiprocessing
import resource
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.timing import Step

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


def peak_in_fresh_process(
    prepare: Callable[..., Step], *args: object, preload: Sequence[str] | None = ()
) -> int:
    """Peak bytes of the step that `prepare(*args)` makes.

    Args:
        prepare: a module's function, warmed up on little, so that libraries are loaded.
        args: plain values.
        preload: modules to import once for all calls, in a process that those of the calls are
            copies of. None for a process with a heap of its own: where much is freed and fetched
            again, peaks depend on how the heap came to lie.

    Raises: BrokenProcessPool if the process was killed, as for want of memory.
    """
    copies = preload is not None and "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if copies else "spawn")
    context.set_forkserver_preload(list(preload or ()))
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_peak, prepare, args).result()


def _peak(prepare: Callable[..., Step], args: Sequence[object]) -> int:
    step = prepare(*args)
    before = highest_resident(reset=True)
    result = step()
    peak = highest_resident() - before
    del result
    return peak


def highest_resident(*, reset: bool = False) -> int:
    """The largest resident set of this process so far, bytes; after a reset, the current one.

    Linux resets its mark on request. Elsewhere, or where that is forbidden, the mark stands from
    the process's start: it is too high, and the peak too low, only by what preparation had freed.
    """
    if reset:
        with contextlib.suppress(OSError):
            _RESET.write_text("5")  # see proc(5): resets VmHWM
    if _STATUS.is_file():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else highest * 1024
