"""What data was aimed at, and what was measured, met or missed."""

from collections.abc import Iterator

from benchmarks.attention.targets import Target
from benchmarks.data.loading import BATCH_TOKENS, SINGLE
from benchmarks.data.measure import (
    BIOPYTHON,
    INFLATE,
    LARGE,
    ONE_CORE,
    SMALL,
    TWO_CORES,
    DataFigures,
)
from benchmarks.data.reading import ZLIB
from benchmarks.timing import Spread, ratio, spread

_MORE = 1.6  # times as fast with a second core, where inflating allows it


def data_targets(figures: DataFigures) -> list[Target]:
    """All rows, in the order in which data flows."""
    return [
        *_reading(figures),
        *_memory(figures),
        *_loading(figures),
        *_start(figures),
    ]


def _reading(figures: DataFigures) -> Iterator[Target]:
    biopython = _rates(figures, BIOPYTHON, ZLIB)
    for codec in figures.codecs:
        one, two, limit = (_rates(figures, x, codec) for x in (ONE_CORE, TWO_CORES, INFLATE))
        what = f"FASTA.gz to shards, {codec}"
        yield Target(f"{what}, 1 core: text a second", 60, False, " MB/s", spread(one))
        yield Target(f"{what}, 1 core: times {BIOPYTHON}", 3, False, "x", ratio(one, biopython))
        if not two:
            yield Target(f"{what}, 2 cores: times 1 core", _MORE, False, "x", None)
        elif ratio(limit, one).median >= _MORE:
            yield Target(f"{what}, 2 cores: times 1 core", _MORE, False, "x", ratio(two, one))
        else:  # the reader of two cannot do more than inflate and cut
            shares = ratio([100 * rate for rate in two], limit)
            yield Target(f"{what}, 2 cores: share of inflating alone", 90, False, "%", shares)


def _rates(figures: DataFigures, what: str, codec: str) -> list[float]:
    return [each.rate for each in figures.readings.get((what, codec), [])]


def _memory(figures: DataFigures) -> Iterator[Target]:
    for what in ("prepare", "loader"):
        small, large = (figures.memory[what, size] for size in (SMALL, LARGE))
        growth = large.peak_anonymous_bytes / small.peak_anonymous_bytes
        row = f"{what}: memory, times that of the small source"
        yield Target(row, 1.1, True, "x", _one(growth))


def _loading(figures: DataFigures) -> Iterator[Target]:
    taken = figures.taken[f"{SINGLE}, {BATCH_TOKENS} tokens"]
    rates = spread([each.sequences / each.seconds for each in taken])
    yield Target(f"batches of {SINGLE}, 1 core: sequences a second", 100_000, False, "", rates)
    shares = [100 * batch / (batch + step) for batch, step in figures.step_seconds]
    yield Target("the loader's share of the default run", 2, True, "%", spread(shares))
    for context, padding in figures.padding.items():
        yield Target(f"padding, {context}", 8, True, "%", _one(100 * padding.share))


def _start(figures: DataFigures) -> Iterator[Target]:
    assert figures.start is not None
    what = f"{figures.simulated_proteins:,} proteins, one rank"
    yield Target(f"{what}: start to the first batch", 5, True, " s", _one(figures.start_seconds))
    gigabytes = figures.start.peak_bytes / 1e9
    yield Target(f"{what}: memory, libraries and maps included", 1, True, " GB", _one(gigabytes))


def _one(value: float) -> Spread:
    return spread([value])
