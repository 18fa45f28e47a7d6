"""The measurement as a person reads it."""

import math
from collections.abc import Iterable, Mapping, Sequence

from rich.table import Table

from benchmarks.attention.parity import Parity
from benchmarks.attention.targets import STEP, Measured, Target
from benchmarks.timing import Key, ratio, spread


def section_table(measured: Measured, section: str) -> Table:
    """One direction: milliseconds, peak megabytes, how many times as fast as exact attention."""
    keys = [key for key in measured.seconds if key.section == section]
    table = Table(title=f"{section}, forward + backward", title_justify="left")
    table.add_column("L", justify="right")
    table.add_column("")
    for column in ("median ms", "min-max", "peak MB", "x SDPA"):
        table.add_column(column, justify="right")
    for length in sorted({key.length for key in keys}):
        shown = f"{length}"
        for key in keys:
            if key.length == length:
                table.add_row(shown, key.name, *_cells(measured, key))
                shown = ""
        table.add_section()
    return table


def _cells(measured: Measured, key: Key) -> list[str]:
    seconds, exact = (measured.seconds.get(k, ()) for k in (key, key._replace(name="SDPA")))
    median, low, high, _ = spread([1000 * x for x in seconds])
    peaks = measured.peak_bytes.get(key)
    return [
        _number(median),
        f"{_number(low)}-{_number(high)}",
        _number(spread(peaks).median / 1e6) if peaks else "",
        f"{ratio(exact, seconds).median:.2f}" if exact else "",
    ]


def step_table(measured: Measured, tokens: int) -> Table:
    """Training steps: tokens a second."""
    keys = [key for key in measured.seconds if key.section.startswith(STEP)]
    table = Table(title=f"one training step on {tokens} tokens: tokens/s", title_justify="left")
    table.add_column("")
    lengths = sorted({key.length for key in keys})
    for length in lengths:
        table.add_column(f"{tokens // length} x {length}", justify="right")
    for section, name in dict.fromkeys((key.section, key.name) for key in keys):
        row = [measured.seconds.get(Key(section, name, length), ()) for length in lengths]
        cells = (_number(tokens / spread(samples).median) if samples else "" for samples in row)
        table.add_row(f"{section.removeprefix(STEP)} {name}", *cells)
    return table


def target_table(rows: Sequence[Target]) -> Table:
    """What was aimed at: bound, measured ratio with its smallest and largest round, verdict.

    Below, what it takes to measure the rows that were not.
    """
    table = Table(title="targets", title_justify="left")
    table.add_column("")
    for column in ("bound", "measured", "min-max"):
        table.add_column(column, justify="right")
    table.add_column("")
    for row in rows:
        sign = "<=" if row.at_most else ">="
        unit = "" if row.unit == "positions" else row.unit
        cells = ["", "", "[dim]not measured"]
        if row.measured is not None:
            value, low, high, rounds = row.measured
            extent = f"{_number(low)}-{_number(high)}" if rounds > 1 else ""
            found = "never" if math.isinf(value) else f"{_number(value)}{unit}"
            cells = [found, extent, "[green]met" if row.met else "[red]missed"]
        table.add_row(row.what, f"{sign} {row.bound:g}{unit}", *cells)
    missing = dict.fromkeys(row.needs for row in rows if row.measured is None)
    if missing:
        table.caption = f"not measured: what needs {'; '.join(missing)}"
    return table


def parity_table(rows: Iterable[Parity]) -> Table:
    """Largest relative differences between ours, the peer, and the formula between them."""
    table = Table(
        title="FAVOR+ and performer-pytorch with the same features: largest relative difference",
        title_justify="left",
    )
    table.add_column("")
    for column in (
        "peer - formula with its epsilon",
        "ours - formula without it",
        "peer - ours: its epsilon",
    ):
        table.add_column(column, justify="right")
    for row in rows:
        name = f"{row.direction} {row.kernel}{', compiled product' if row.compiled else ''}"
        table.add_row(name, *(f"{value:.1e}" for value in row[3:]))
    return table


def machine_table(facts: Mapping[str, object]) -> Table:
    """Name and value."""
    table = Table(title="machine", title_justify="left", show_header=False)
    for name, value in facts.items():
        text = f"{value:.2f}" if isinstance(value, float) else str(value)
        table.add_row(name.replace("_", " "), text)
    return table


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
