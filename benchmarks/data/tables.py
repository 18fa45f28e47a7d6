"""The measurement of data as a person reads it; its targets are `tables.target_table`'s."""

from rich.table import Table

from benchmarks.data.measure import DataFigures
from benchmarks.timing import spread


def reading_table(figures: DataFigures) -> Table:
    """Megabytes of text a second of wall time, and of a core's time."""
    table = Table(title="FASTA.gz, MB of text a second", title_justify="left")
    for column in ("", "with"):
        table.add_column(column)
    for column in ("median", "min-max", "of CPU time"):
        table.add_column(column, justify="right")
    for (what, codec), readings in figures.readings.items():
        rate = spread([each.rate for each in readings])
        cpu = spread([each.megabytes / each.cpu_seconds for each in readings])
        extent = f"{rate.low:.1f}-{rate.high:.1f}"
        table.add_row(what, codec, f"{rate.median:.1f}", extent, f"{cpu.median:.1f}")
    return table


def loading_table(figures: DataFigures) -> Table:
    """Sequences a second of wall time, and of a core's time."""
    table = Table(title="batches, sequences a second", title_justify="left")
    table.add_column("")
    for column in ("median", "min-max", "of CPU time"):
        table.add_column(column, justify="right")
    for name, taken in figures.taken.items():
        rate = spread([each.sequences / each.seconds for each in taken])
        cpu = spread([each.sequences / each.cpu_seconds for each in taken])
        extent = f"{rate.low:,.0f}-{rate.high:,.0f}"
        table.add_row(name, f"{rate.median:,.0f}", extent, f"{cpu.median:,.0f}")
    return table


def memory_table(figures: DataFigures) -> Table:
    """Peaks of whole processes, megabytes."""
    table = Table(title="memory of a process, MB", title_justify="left")
    for column in ("", "source"):
        table.add_column(column)
    for column in ("anonymous", "with mapped files"):
        table.add_column(column, justify="right")
    rows = dict(figures.memory)
    if figures.start is not None:
        rows["start of a rank", f"{figures.simulated_proteins:,} proteins"] = figures.start
    for (what, size), usage in rows.items():
        anonymous, resident = usage.peak_anonymous_bytes / 1e6, usage.peak_bytes / 1e6
        table.add_row(what, size, f"{anonymous:.0f}", f"{resident:.0f}")
    return table
