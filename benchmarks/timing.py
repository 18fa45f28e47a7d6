"""Seconds of many rivals, taken in turns: what slows the machine slows all of them.

A rival that is measured to its end before the next one starts meets another machine: other
neighbours, another clock rate. Here every round runs each cell once, and two cells are compared
round by round.
"""

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

Step = Callable[[], object]


class Key(NamedTuple):
    """What a cell of the measurement is about."""

    section: str
    name: str
    length: int


class Cell(NamedTuple):
    """One rival at one length.

    Attributes:
        key: its name among the results.
        prepare: makes the step that is timed, warmed up; called once, before all rounds.
        rounds: at most so many, for cells that would take most of the time.
    """

    key: Key
    prepare: Callable[[], Step]
    rounds: int | None = None


class Spread(NamedTuple):
    """A median with the smallest and largest of the samples."""

    median: float
    low: float
    high: float
    rounds: int


def spread(samples: Sequence[float]) -> Spread:
    """Of at least one sample."""
    return Spread(statistics.median(samples), min(samples), max(samples), len(samples))


def ratios(numerator: Sequence[float], denominator: Sequence[float]) -> list[float]:
    """Of the samples of the same round, as far as both go."""
    return [a / b for a, b in zip(numerator, denominator, strict=False)]


def interleave(
    cells: Sequence[Cell],
    rounds: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[Key, list[float]]:
    """Seconds of each cell in each round: one step of every cell, round after round.

    Args:
        cells: in the order in which they run; those that are compared should be neighbours.
        rounds: of every cell that has no smaller number of its own.
        clock: seconds.
        progress: called with what is about to run.
    """
    steps = {cell.key: cell.prepare() for cell in cells}
    seconds: dict[Key, list[float]] = {cell.key: [] for cell in cells}
    for index in range(rounds):
        gc.collect()
        for cell in cells:
            if index < (rounds if cell.rounds is None else cell.rounds):
                progress(f"round {index + 1} of {rounds}: {' '.join(map(str, cell.key))}")
                seconds[cell.key].append(_time(steps[cell.key], clock))
    return seconds


def _time(step: Step, clock: Callable[[], float]) -> float:
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = clock()
        step()
        return clock() - start
    finally:
        if collecting:
            gc.enable()


def crossover(lengths: Iterable[int], advantage: Mapping[int, float]) -> float | None:
    """The length from which one rival is faster than another, interpolated between logarithms.

    Args:
        lengths: in ascending order.
        advantage: the other's seconds over the one's at each length.

    Returns: the shortest length if it is faster there already; None if it never is.
    """
    before: int | None = None
    for length in lengths:
        if advantage[length] >= 1:
            if before is None:
                return float(length)
            below, above = math.log(advantage[before]), math.log(advantage[length])
            share = -below / (above - below)
            return math.exp((1 - share) * math.log(before) + share * math.log(length))
        before = length
    return None
