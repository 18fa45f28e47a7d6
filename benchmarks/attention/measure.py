"""The whole measurement: the memory of each cell in a fresh process, then all times in turns."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.attention.mechanisms import BOTH, MECHANISMS, attention_step
from benchmarks.attention.sizes import Sizes
from benchmarks.attention.training_step import (
    VALUES,
    VALUES_DIRECTION,
    matrix_product,
    training_mechanisms,
    training_step,
)
from benchmarks.fresh_process import growth, in_fresh_process
from benchmarks.timing import Cell, Key, Step, interleave
from protein_performer.errors import UserError

STEP = "training step, "  # and the direction: a section
PEAK = "peak"
# What a process imports before it is measured; the second comes with PyTorch's first gradient.
_PRELOAD = (__name__, "torch.fx.experimental.symbolic_shapes")
_FEW_ROUNDS = 3  # of cells that take seconds, where no other row depends on them


@dataclass(frozen=True)
class Measured:
    """By cell: seconds of each round, peak bytes of each process, operations of a step.

    Operations are additions and multiplications inside matrix products, as executed: features that
    the gradient computes again, and the masked half of each chunk, are counted, all else is not.
    """

    seconds: Mapping[Key, Sequence[float]]
    peak_bytes: Mapping[Key, Sequence[int]]
    operations: Mapping[Key, int]


def measure(
    sizes: Sizes,
    *,
    rounds: int,
    num_threads: int,
    with_peers: bool,
    only: Sequence[str] | None = None,
    progress: Callable[[str], None],
) -> Measured:
    """Measure every cell, or those of attention alone of these names.

    The whole needs 8 GB with peers and 4 GB without.

    Raises: UserError if a process was killed, or if nothing of these names runs here.
    """
    keys = [key for key in _attention_keys(sizes, with_peers) if only is None or key.name in only]
    if not keys:
        raise UserError("nothing of --only runs here: other libraries take --peers")
    # Memory first: what does not fit is found before minutes have gone into times.
    peak_bytes = {}
    for key in keys:
        progress(f"memory: {' '.join(map(str, key))}")
        peak_bytes[key] = _peaks(key, sizes, num_threads)
    operations = {
        key: executed_operations(_attention_step(key, sizes))
        for key in keys
        if key.length == sizes.middle and key.name in ("FAVOR+ softmax", "FAVOR+ ReLU")
    }
    cells = list(_attention_cells(keys, sizes))
    if only is None:
        cells += _training_cells(sizes)
    return Measured(interleave(cells, rounds, progress=progress), peak_bytes, operations)


class _ProductCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up what PyTorch's own formulas say of each product that runs."""

    total: int = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if packet is torch.ops.aten.baddbmm_:  # in place: PyTorch has a formula for the other only
            packet = torch.ops.aten.baddbmm
        if packet in flop_registry:
            self.total += flop_registry[packet](*args, **(kwargs or {}), out_val=out)
        return out


def executed_operations(step: Step) -> int:
    """Operations of all matrix products of a step."""
    counter = _ProductCounter()  # type: ignore[no-untyped-call]
    with counter:
        step()
    return int(counter.total)


def _peaks(key: Key, sizes: Sizes, num_threads: int) -> list[int]:
    """Of one process, or of several, each with a heap of its own, where they differ."""
    processes = MECHANISMS[key.name].processes
    preload = _PRELOAD if processes == 1 else None
    task = partial(in_fresh_process, growth, _one_step, key, sizes, num_threads, preload=preload)
    return [task().result for _ in range(processes)]


def _one_step(key: Key, sizes: Sizes, num_threads: int) -> Step:
    torch.set_num_threads(num_threads)
    return _attention_step(key, sizes)


def _attention_step(key: Key, sizes: Sizes) -> Step:
    return attention_step(key.name, key.section == "causal", key.length, sizes)


def _attention_keys(sizes: Sizes, with_peers: bool) -> Iterator[Key]:
    """Rivals of one length are neighbours."""
    for length in (*sizes.lengths, sizes.longest):
        for direction in BOTH:
            for name, mechanism in MECHANISMS.items():
                if mechanism.runs(direction, length, sizes, with_peers):
                    yield Key(direction, name, length)


def _attention_cells(keys: list[Key], sizes: Sizes) -> Iterator[Cell]:
    first_of_middle = next((key for key in keys if key.length == sizes.middle), None)
    for key in keys:
        if key == first_of_middle:
            yield Cell(Key(PEAK, PEAK, sizes.matrix), partial(matrix_product, sizes.matrix))
        rounds = _FEW_ROUNDS if MECHANISMS[key.name].few_rounds else None
        yield Cell(key, partial(_attention_step, key, sizes), rounds)


def _training_cells(sizes: Sizes) -> Iterator[Cell]:
    for length in (sizes.middle, sizes.long):
        for direction in BOTH:
            for name in training_mechanisms(sizes):
                if name == VALUES and direction != VALUES_DIRECTION:
                    continue
                rounds = _FEW_ROUNDS if length == sizes.long else None
                if name == "SDPA":
                    rounds = 1  # a minute of the whole, for orientation only
                prepare = partial(training_step, name, direction == "causal", length, sizes)
                yield Cell(Key(STEP + direction, name, length), prepare, rounds)
