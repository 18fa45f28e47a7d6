"""The whole measurement of data: memory, then all times in turns, then the start of a rank."""

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.data import loading, reading
from benchmarks.data.made_sources import Made, make_source
from benchmarks.data.simulated_split import first_batch_seconds, simulate
from benchmarks.figures import Figure
from benchmarks.fresh_process import Usage, in_fresh_process
from benchmarks.timing import ratios
from protein_performer.data.preparing.preprocessing import SHARD_PROTEINS

INFLATE, ONE_CORE, TWO_CORES = "inflate alone", "to shards, 1 core", "to shards, 2 cores"
BIOPYTHON = "gzip + Biopython"
TEXT, MEMORY, BATCHES, START = "FASTA.gz", "memory of a process", "batches", "start of a rank"


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


QUICK = DataSizes(large=4, small=2, timed=2, batches=10, padded=10, steps=2, shards=1)


@dataclass
class Measurement:
    """One run.

    Attributes:
        folder: for sources that are made, which stay, and for what is prepared from them, which
            does not.
        sizes: of everything.
        rounds: of what is timed.
        progress: called with what is about to run.
        figures: what was measured so far.
    """

    folder: Path
    sizes: DataSizes
    rounds: int
    progress: Callable[[str], None]
    figures: list[Figure] = field(default_factory=list)

    def run(self, sources: Sequence[str]) -> list[Figure]:
        """Measure everything, on repetitions of real proteins with mutations."""
        small, timed, large = (
            self._make(sources, size)
            for size in (self.sizes.small, self.sizes.timed, self.sizes.large)
        )
        with tempfile.TemporaryDirectory(prefix="prepared-", dir=self.folder) as name:
            cache = Path(name)
            self._memory(small, large, cache)
            self._reading(small, timed, cache / "timed")
            self._loading(small.path, cache)
            self._start(small.path, cache)
        return self.figures

    def _make(self, sources: Sequence[str], megabytes: float) -> Made:
        self.progress(f"making {megabytes:,.0f} MB of FASTA")
        return make_source(sources, self.folder, megabytes)

    def _add(self, table: str, what: str, unit: str, samples: Sequence[float]) -> None:
        self.figures.append(Figure(table, what, unit, samples))

    def _memory(self, small: Made, large: Made, cache: Path) -> None:
        """Prepare each source and go through batches; only the small one's folder is kept."""
        peaks: dict[str, list[int]] = {"prepare": [], "loader": []}
        for source in (small, large):
            megabytes = f"{source.text_bytes / 1e6:,.0f} MB"
            folder = loading.prepared_at(source.path, cache)
            for what, task in (
                ("prepare", (reading.prepare_shards, source.path, folder, 0, reading.codecs()[0])),
                ("loader", (loading.go_through, source.path, cache, self.sizes.batches)),
            ):
                self.progress(f"memory: {what}, {megabytes}")
                usage = in_fresh_process(*task, cores=1)
                peaks[what].append(usage.peak_anonymous_bytes)
                self._add_memory(f"{what}, {megabytes} of text", usage)
        shutil.rmtree(loading.prepared_at(large.path, cache))
        for what, (before, after) in peaks.items():
            self._add(MEMORY, f"{what}: large source over small one", "x", [after / before])

    def _add_memory(self, what: str, usage: Usage, table: str = MEMORY) -> None:
        self._add(table, f"{what}: anonymous", "MB", [usage.peak_anonymous_bytes / 1e6])
        self._add(table, f"{what}: with mapped files", "MB", [usage.peak_bytes / 1e6])

    def _reading(self, small: Made, timed: Made, folder: Path) -> None:
        rates: dict[str, list[float]] = {}
        cpu_rates: dict[str, list[float]] = {}

        def take(what: str, source: Made, usage: Usage) -> None:
            megabytes = source.text_bytes / 1e6
            rates.setdefault(what, []).append(megabytes / usage.seconds)
            cpu_rates.setdefault(what, []).append(megabytes / usage.cpu_seconds)

        for number in range(1, self.rounds + 1):
            for codec in reading.codecs():
                self.progress(f"round {number} of {self.rounds}: FASTA.gz to shards, {codec}")
                usage = in_fresh_process(reading.inflate, timed.path, codec, cores=1)
                take(f"{INFLATE}, {codec}", timed, usage)
                for workers, what in list(enumerate((ONE_CORE, TWO_CORES)))[: cores()]:
                    task = reading.prepare_shards, timed.path, folder, workers, codec
                    usage = in_fresh_process(*task, cores=workers + 1)
                    shutil.rmtree(folder)
                    take(f"{what}, {codec}", timed, usage)
            self.progress(f"round {number} of {self.rounds}: {BIOPYTHON}")
            usage = in_fresh_process(reading.parse_with_biopython, small.path, cores=1)
            take(BIOPYTHON, small, usage)
        for what, samples in rates.items():
            self._add(TEXT, what, "MB/s of text", samples)
            self._add(TEXT, f"{what}, by CPU time", "MB/s of text", cpu_rates[what])
        for codec in reading.codecs():
            one, two = (rates.get(f"{what}, {codec}") for what in (ONE_CORE, TWO_CORES))
            assert one is not None
            times = ratios(one, rates[BIOPYTHON])
            self._add(TEXT, f"{ONE_CORE}, {codec}: over {BIOPYTHON}", "x", times)
            if two is not None:
                self._add(TEXT, f"{codec}: 2 cores over 1", "x", ratios(two, one))

    def _loading(self, source: Path, cache: Path) -> None:
        self.progress("batches")
        usage = in_fresh_process(
            loading.take_in_turns, source, cache, self.sizes.batches, self.rounds, cores=1
        )
        for name, taken in usage.result.items():
            rates = [each.sequences / each.seconds for each in taken]
            self._add(BATCHES, name, "sequences/s", rates)
            rates = [each.sequences / each.cpu_seconds for each in taken]
            self._add(BATCHES, f"{name}, by CPU time", "sequences/s", rates)
        self.progress("padding")
        usage = in_fresh_process(loading.padding, source, cache, self.sizes.padded, cores=1)
        for context, share in usage.result.items():
            self._add(BATCHES, f"{context}: padding", "%", [100 * share])
        self.progress("training steps")
        arguments = source, cache, self.sizes.steps, cores()
        usage = in_fresh_process(loading.loader_and_step_seconds, *arguments, cores=cores())
        shares = [100 * batch / (batch + step) for batch, step in usage.result]
        self._add(BATCHES, "the loader's share of a training step", "%", shares)

    def _start(self, source: Path, cache: Path) -> None:
        """The small source's folder is grown; nothing needs it any more."""
        self.progress("simulating a large training set")
        proteins = simulate(loading.prepared_at(source, cache), self.sizes.shards)
        self.progress(f"start of a rank, {proteins:,} proteins")
        usage = in_fresh_process(first_batch_seconds, source, cache, cores=1)
        self._add(START, f"{proteins:,} proteins, to the first batch", "s", [usage.result])
        self._add_memory(f"{proteins:,} proteins", usage, START)


def cores() -> int:
    """That this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
