"""The measurement of attention as a person reads it."""

from collections.abc import Iterator, Sequence

from rich.table import Table

from benchmarks.attention.measure import PEAK, STEP, Measured
from benchmarks.attention.mechanisms import BFLOAT16, BOTH, MECHANISMS
from benchmarks.attention.parity import Parity
from benchmarks.attention.sizes import Sizes
from benchmarks.attention.training_step import VALUES, VALUES_DIRECTION
from benchmarks.figures import Figure, number
from benchmarks.timing import Key, crossover, ratios, spread

FAVOR = ("FAVOR+ softmax", "FAVOR+ ReLU")


def section_table(measured: Measured, section: str) -> Table:
    """One direction: medians, and ratios within rounds with the smallest and the largest."""
    keys = [key for key in measured.seconds if key.section == section]
    table = Table(title=f"{section}, forward + backward", title_justify="left")
    table.add_column("L", justify="right")
    table.add_column("", no_wrap=True)
    for column in ("ms", "peak MB", "x SDPA", "x float32", "ours is x as fast"):
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
    seconds = measured.seconds[key]
    rounded = key.name.endswith(BFLOAT16)

    def of(name: str) -> Sequence[float]:
        return measured.seconds.get(key._replace(name=name), ())

    exact = of("SDPA" + BFLOAT16 if rounded else "SDPA")
    in_float32 = of(key.name.removesuffix(BFLOAT16)) if rounded else ()
    ours = of(MECHANISMS[key.name].rival_of or "")
    return [
        number(1000 * spread(seconds).median),
        number(spread(measured.peak_bytes[key]).median / 1e6),
        _of_rounds(exact, seconds),
        _of_rounds(in_float32, seconds),
        _of_rounds(seconds, ours),
    ]


def _of_rounds(numerator: Sequence[float], denominator: Sequence[float]) -> str:
    """Median of the ratios within rounds, smallest and largest; empty where one did not run."""
    if not numerator or not denominator:
        return ""
    found = spread(ratios(numerator, denominator))
    return f"{found.median:.2f} ({found.low:.2f}-{found.high:.2f})"


def figures(measured: Measured, sizes: Sizes) -> list[Figure]:
    """What is derived from the whole measurement."""
    return [*step_figures(measured, sizes), *derived(measured, sizes)]


def derived(measured: Measured, sizes: Sizes) -> list[Figure]:
    """Where FAVOR+ begins to pay, how near it is to the machine's peak, and how it grows."""
    rows: list[Figure] = []
    for direction in BOTH:
        for name in FAVOR:
            rows += _of_favor(measured, sizes, direction, name)
    return rows


def _of_favor(measured: Measured, sizes: Sizes, direction: str, name: str) -> Iterator[Figure]:
    def seconds(length: int, name: str = name) -> Sequence[float]:
        return measured.seconds[Key(direction, name, length)]

    what = f"{direction} {name}"
    advantage = {
        length: spread(ratios(seconds(length, "SDPA"), seconds(length))).median
        for length in sizes.lengths
    }
    start = crossover(sizes.lengths, advantage)
    if start is not None:
        yield Figure("against length", f"{what}: faster than SDPA from", "positions", [start])
    small, large = (Key(direction, name, length) for length in (sizes.long, sizes.longest))
    what += f", {sizes.long} to {sizes.longest} positions"
    growth = ratios(seconds(sizes.longest), seconds(sizes.long))
    yield Figure("against length", f"{what}: time", "x", growth)
    before, after = (measured.peak_bytes[key][0] for key in (small, large))
    if before:  # a tiny step may need no new memory
        yield Figure("against length", f"{what}: memory", "x", [after / before])

    peak = measured.seconds[Key(PEAK, PEAK, sizes.matrix)]
    operations = measured.operations[Key(direction, name, sizes.middle)]
    percent = 100 * operations / (2 * sizes.matrix**3)
    shares = ratios([percent * each for each in peak], seconds(sizes.middle))
    what = f"{direction} {name}, {sizes.middle} positions"
    yield Figure("share of the matrix product's speed", what, "%", shares)


def step_figures(measured: Measured, sizes: Sizes) -> list[Figure]:
    """Training steps: tokens a second, and those as a share of the model's without attention."""
    rows = []
    for key, seconds in measured.seconds.items():
        if key.section.startswith(STEP):
            what = f"{key.section.removeprefix(STEP)} {key.name}"
            table = f"training step, {sizes.long // key.length} x {key.length}"
            rows.append(Figure(table, what, "tokens/s", [sizes.long / each for each in seconds]))
            bare = measured.seconds[Key(STEP + VALUES_DIRECTION, VALUES, key.length)]
            if key.name != VALUES:
                shares = [100 * each for each in ratios(bare, seconds)]
                rows.append(Figure(table, f"{what}, of those without attention", "%", shares))
    return rows


def parity_table(rows: Sequence[Parity]) -> Table:
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
