"""The whole measurement of data: memory, then all times in turns, then the start of a rank."""

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from benchmarks.data import loading, reading
from benchmarks.data.made_sources import Made, make_source
from benchmarks.data.simulated_split import first_batch_seconds, simulate
from benchmarks.fresh_process import Usage, in_fresh_process
from protein_performer.data.preparing.preprocessing import SHARD_PROTEINS

SMALL, LARGE = "small", "large"
INFLATE, ONE_CORE, TWO_CORES, BIOPYTHON = "inflate", "1 core", "2 cores", "gzip + Biopython"


@dataclass(frozen=True)
class DataSizes:
    """How much of everything; megabytes (10^6 bytes) are of FASTA, before compression.

    Attributes:
        small, large: megabytes of the sources whose memory is compared.
        timed: megabytes of the source that is prepared again and again.
        batches: timed in each round, and gone through to see the memory of a loader.
        padded: batches whose padding is counted.
        steps: of training.
        shards: of the simulated training set.
    """

    large: float
    small: float = 100
    timed: float = 1000
    batches: int = 1000
    padded: int = 2000
    steps: int = 20
    shards: int = -(-200_000_000 // SHARD_PROTEINS)


QUICK_DATA = DataSizes(large=4, small=2, timed=2, batches=10, padded=10, steps=2, shards=1)


class Reading(NamedTuple):
    """Text that went through once."""

    megabytes: float
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Megabytes of text in a second of wall time."""
        return self.megabytes / self.seconds


@dataclass
class DataFigures:
    """What was measured.

    Attributes:
        codecs: what inflated, the one that is used first.
        readings: what was done, and with which codec -> one reading a round.
        memory: `prepare` or `loader`, and `SMALL` or `LARGE` -> what it took.
        taken: kind of batches -> those of each round.
        padding: context -> what was counted.
        step_seconds: of a batch and of the step on it.
        simulated_proteins: in the training set of a rank's start.
        start_seconds: until its first batch.
        start: what that took, the import of libraries included.
    """

    codecs: list[str]
    readings: dict[tuple[str, str], list[Reading]] = field(default_factory=dict)
    memory: dict[tuple[str, str], Usage] = field(default_factory=dict)
    taken: dict[str, list[loading.Taken]] = field(default_factory=dict)
    padding: dict[str, loading.Padding] = field(default_factory=dict)
    step_seconds: list[tuple[float, float]] = field(default_factory=list)
    simulated_proteins: int = 0
    start_seconds: float = 0.0
    start: Usage | None = None

    def add_reading(self, what: str, codec: str, source: Made, usage: Usage) -> None:
        """Note that a source went through once more."""
        took = Reading(source.text_bytes / 1e6, usage.seconds, usage.cpu_seconds)
        self.readings.setdefault((what, codec), []).append(took)


def cores() -> int:
    """That this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def measure_data(
    sources: Sequence[str],
    folder: Path,
    sizes: DataSizes,
    *,
    rounds: int,
    progress: Callable[[str], None],
) -> DataFigures:
    """Measure everything.

    Args:
        sources: real proteins, which are repeated with mutations.
        folder: for sources that are made, which stay, and for what is prepared from them, which
            does not.
        sizes: of everything.
        rounds: of what is timed.
        progress: told what is about to run.
    """
    figures = DataFigures(reading.codecs())
    made = {}
    for megabytes in sorted({sizes.small, sizes.timed, sizes.large}):
        progress(f"making {megabytes:,.0f} MB of FASTA")
        made[megabytes] = make_source(sources, folder, megabytes)
    small = made[sizes.small]
    with tempfile.TemporaryDirectory(prefix="prepared-", dir=folder) as name:
        cache = Path(name)
        for size, source in ((SMALL, small), (LARGE, made[sizes.large])):
            _measure_memory(figures, size, source, cache, sizes.batches, progress)
        _time_reading(figures, small, made[sizes.timed], cache, rounds, progress)
        _measure_loading(figures, small.path, cache, sizes, rounds, progress)
        _measure_start(figures, small.path, cache, sizes, progress)
    return figures


def _measure_memory(
    figures: DataFigures,
    size: str,
    source: Made,
    cache: Path,
    batches: int,
    progress: Callable[[str], None],
) -> None:
    """Prepare a source, go through some of its batches; only the small one's folder is kept."""
    folder, codec = loading.prepared_at(source.path, cache), figures.codecs[0]
    progress(f"memory: preparing {source.text_bytes / 1e6:,.0f} MB")
    figures.memory["prepare", size] = in_fresh_process(
        reading.prepare_shards, source.path, folder, 0, codec
    )
    progress(f"memory: the loader, {source.records:,} proteins")
    figures.memory["loader", size] = in_fresh_process(
        loading.go_through, source.path, cache, batches
    )
    if size == LARGE:
        shutil.rmtree(folder)


def _time_reading(
    figures: DataFigures,
    small: Made,
    timed: Made,
    cache: Path,
    rounds: int,
    progress: Callable[[str], None],
) -> None:
    folder = cache / "timed"
    for number in range(1, rounds + 1):
        for codec in figures.codecs:
            progress(f"round {number} of {rounds}: FASTA.gz to shards, {codec}")
            usage = in_fresh_process(reading.inflate, timed.path, codec)
            figures.add_reading(INFLATE, codec, timed, usage)
            for workers, what in ((0, ONE_CORE), (1, TWO_CORES)):
                if workers >= cores():
                    continue
                usage = in_fresh_process(
                    reading.prepare_shards, timed.path, folder, workers, codec, cores=workers + 1
                )
                shutil.rmtree(folder)
                figures.add_reading(what, codec, timed, usage)
        progress(f"round {number} of {rounds}: {BIOPYTHON}")
        usage = in_fresh_process(reading.parse_with_biopython, small.path)
        figures.add_reading(BIOPYTHON, reading.ZLIB, small, usage)


def _measure_loading(
    figures: DataFigures,
    source: Path,
    cache: Path,
    sizes: DataSizes,
    rounds: int,
    progress: Callable[[str], None],
) -> None:
    progress("batches")
    usage = in_fresh_process(loading.take_in_turns, source, cache, sizes.batches, rounds)
    figures.taken = usage.result
    progress("padding")
    figures.padding = in_fresh_process(loading.padding, source, cache, sizes.padded).result
    progress("training steps")
    usage = in_fresh_process(
        loading.loader_and_step_seconds, source, cache, sizes.steps, cores(), cores=cores()
    )
    figures.step_seconds = usage.result


def _measure_start(
    figures: DataFigures,
    source: Path,
    cache: Path,
    sizes: DataSizes,
    progress: Callable[[str], None],
) -> None:
    """The small source's folder is grown; nothing needs it any more."""
    progress("simulating a large training set")
    folder = loading.prepared_at(source, cache)
    figures.simulated_proteins = simulate(folder, sizes.shards)
    progress(f"start of a rank, {figures.simulated_proteins:,} proteins")
    figures.start = in_fresh_process(first_batch_seconds, source, cache)
    figures.start_seconds = figures.start.result
