"""How far a verb has come: a bar with rate and time left, or a line now and then in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_SECONDS = 60.0  # between two lines where there is no terminal

# Proteins and residues that are done, and all proteins if their number is known.
Show = Callable[[int, int, int | None], None]


@contextmanager
def progress(doing: str) -> Iterator[Show]:
    """A function to call with what is done; it prints to standard error.

    Args:
        doing: what is being done, for the line's start.
    """
    if not sys.stderr.isatty():
        yield _lines(doing)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("proteins, {task.fields[rate]} residues/s,"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    start = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=None, rate="?")

        def show(proteins: int, residues: int, total: int | None) -> None:
            rate = f"{residues / max(time.monotonic() - start, 1e-9):,.0f}"
            bar.update(task, completed=proteins, total=total, rate=rate)

        yield show


def _lines(doing: str) -> Show:
    start = last = time.monotonic()

    def show(proteins: int, residues: int, total: int | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _SECONDS:
            return
        last, seconds = now, now - start
        of_all = ""
        if total:
            left = seconds / proteins * (total - proteins)
            of_all = f" of {total:,}, {left / 60:,.0f} min left"
        print(
            f"{doing}: {proteins:,} proteins{of_all}, {residues / seconds:,.0f} residues/s",
            file=sys.stderr,
        )

    return show
