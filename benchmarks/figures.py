"""What was measured, as rows of a table and of a JSON file."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from rich.table import Table

from benchmarks.timing import Spread, spread


class Figure(NamedTuple):
    """One row.

    Attributes:
        table: that it belongs to.
        what: was measured, on which input.
        unit: of the samples.
        samples: one a round, or a single one.
    """

    table: str
    what: str
    unit: str
    samples: Sequence[float]


def plain(figure: Figure) -> dict[str, object]:
    """For JSON."""
    return {**figure._asdict(), **spread(figure.samples)._asdict()}


def figure_tables(figures: Iterable[Figure]) -> list[Table]:
    """One table for each name of a table, in the order in which they come."""
    tables: dict[str, Table] = {}
    for figure in figures:
        if figure.table not in tables:
            table = Table(title=figure.table, title_justify="left")
            for column in ("", "unit"):
                table.add_column(column)
            for column in ("median", "min-max"):
                table.add_column(column, justify="right")
            tables[figure.table] = table
        samples = spread(figure.samples)
        cells = figure.what, figure.unit, number(samples.median), extent(samples)
        tables[figure.table].add_row(*cells)
    return list(tables.values())


def machine_table(facts: Mapping[str, object]) -> Table:
    """Name and value."""
    table = Table(title="machine", title_justify="left", show_header=False)
    for name, value in facts.items():
        text = f"{value:.2f}" if isinstance(value, float) else str(value)
        table.add_row(name.replace("_", " "), text)
    return table


def number(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def extent(samples: Spread) -> str:
    """Smallest and largest; empty where there is one."""
    return f"{number(samples.low)}-{number(samples.high)}" if samples.rounds > 1 else ""
