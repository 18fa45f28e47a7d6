"""The whole measurement: the memory of each cell in a fresh process, then all times in turns."""

from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from functools import partial

import torch

from benchmarks.attention.contestants import BOTH, CONTESTANTS, attention_step
from benchmarks.attention.sizes import Sizes
from benchmarks.attention.targets import PEAK, STEP, VALUES, VALUES_DIRECTION, Measured
from benchmarks.attention.training_step import (
    matrix_product,
    mechanisms,
    training_step,
)
from benchmarks.memory import peak_in_fresh_process
from benchmarks.timing import Cell, Key, Step, interleave
from protein_performer.errors import UserError

# What a process imports before it is measured; the second comes with PyTorch's first gradient.
_PRELOAD = (__name__, "torch.fx.experimental.symbolic_shapes")
FEW_ROUNDS = 3  # of cells that take seconds, where no other row depends on them


def measure(
    sizes: Sizes,
    *,
    rounds: int,
    num_threads: int,
    with_peers: bool,
    progress: Callable[[str], None],
) -> Measured:
    """Seconds and peak bytes of every cell."""
    attention = list(_attention_keys(sizes, with_peers))
    # Memory first: what does not fit is found before minutes have gone into times.
    peak_bytes = {}
    for key in attention:
        progress(f"memory: {' '.join(map(str, key))}")
        peak_bytes[key] = _peaks(key, sizes, num_threads)
    cells = [*_attention_cells(attention, sizes), *_step_cells(sizes)]
    return Measured(interleave(cells, rounds, progress=progress), peak_bytes)


def _peaks(key: Key, sizes: Sizes, num_threads: int) -> list[int]:
    """Of one process, or of several where they differ."""
    args = _one_step, key, sizes, num_threads
    processes = CONTESTANTS[key.name].processes
    try:
        if processes == 1:
            return [peak_in_fresh_process(*args, preload=_PRELOAD)]
        return [peak_in_fresh_process(*args, preload=None) for _ in range(processes)]
    except BrokenProcessPool as error:
        raise UserError(
            f"{key.section} {key.name} at {key.length} positions: its process was killed, probably"
            " for want of memory. The whole benchmark needs 8 GB with --peers and 4 GB without."
        ) from error


def _attention_keys(sizes: Sizes, with_peers: bool) -> Iterator[Key]:
    """Rivals of one length are neighbours."""
    for length in (*sizes.lengths, sizes.longest):
        for direction in BOTH:
            for name, contestant in CONTESTANTS.items():
                if contestant.runs(direction, length, sizes, with_peers):
                    yield Key(direction, name, length)


def _attention_cells(keys: list[Key], sizes: Sizes) -> Iterator[Cell]:
    for key in keys:
        if key == next(x for x in keys if x.length == sizes.middle):
            peak = Key(PEAK, PEAK, sizes.matrix)
            yield Cell(peak, partial(matrix_product, sizes.matrix))
        rounds = FEW_ROUNDS if CONTESTANTS[key.name].few_rounds else None
        prepare = partial(attention_step, key.name, key.section == "causal", key.length, sizes)
        yield Cell(key, prepare, rounds)


def _step_cells(sizes: Sizes) -> Iterator[Cell]:
    """Training steps; all rounds only where something is aimed at."""
    for length in (sizes.middle, sizes.long):
        for direction in BOTH:
            for name in mechanisms(sizes):
                if name == VALUES and direction != VALUES_DIRECTION:
                    continue
                rounds = FEW_ROUNDS if length == sizes.long else None
                if name == "SDPA":
                    rounds = 1  # a minute of the whole, for orientation only
                prepare = partial(training_step, name, direction == "causal", length, sizes)
                yield Cell(Key(STEP + direction, name, length), prepare, rounds)


def _one_step(key: Key, sizes: Sizes, num_threads: int) -> Step:
    torch.set_num_threads(num_threads)
    return attention_step(key.name, key.section == "causal", key.length, sizes)
