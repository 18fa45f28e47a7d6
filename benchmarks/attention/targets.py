"""What was aimed at, and what was measured: ratios of times and memories, met or missed."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.attention.products import favor_operations
from benchmarks.attention.sizes import Sizes
from benchmarks.timing import Key, Spread, crossover, ratio, spread

KERNELS = ("softmax", "ReLU")
PEAK = "peak"
COMPILED = "--peers and EPFL's compiled product (docs/benchmark.md builds it)"
STEP = "training step, "  # and the direction: a section
VALUES, VALUES_DIRECTION = "values", "bidirectional"  # it has no direction and runs once a round


@dataclass(frozen=True)
class Measured:
    """Seconds of each round, and peak bytes of each process, by cell."""

    seconds: Mapping[Key, Sequence[float]]
    peak_bytes: Mapping[Key, Sequence[int]]


class Target(NamedTuple):
    """One row.

    Attributes:
        what: is compared, and at which length.
        bound: to reach, or to stay below.
        at_most: the bound is an upper one.
        unit: as it is written behind the number, such as `x` or `%`; or `positions`.
        measured: None where a contestant did not run.
        needs: what it takes to measure it.
    """

    what: str
    bound: float
    at_most: bool
    unit: str
    measured: Spread | None
    needs: str = "--peers"

    @property
    def met(self) -> bool | None:
        """None where nothing was measured."""
        if self.measured is None:
            return None
        value = self.measured.median
        return value <= self.bound if self.at_most else value >= self.bound


def plain(row: Target) -> dict[str, object]:
    """For JSON, which has no infinity, the crossover of one that is never faster: null, missed."""
    measured = None if row.measured is None else row.measured._asdict()
    if row.measured is not None and math.isinf(row.measured.median):
        measured = None
    return {**row._asdict(), "measured": measured, "met": row.met}


def targets(measured: Measured, sizes: Sizes) -> list[Target]:
    """All rows, in the order of their importance."""
    at = _Rows(measured, sizes)
    return [
        *at.causal_against_performer_pytorch(),
        *at.causal_against_exact(),
        *at.bidirectional(),
        *at.share_of_peak(),
        *at.training_steps(),
        *at.growth(),
        *at.rivals(),
    ]


class _Rows:
    def __init__(self, measured: Measured, sizes: Sizes) -> None:
        self.measured, self.sizes = measured, sizes

    def faster(self, what: str, ours: Key, other: str, bound: float) -> Target:
        """How many times as long the other takes."""
        times = self.seconds(ours._replace(name=other)), self.seconds(ours)
        value = ratio(*times) if all(times) else None
        return Target(f"{what}, L={ours.length}: times faster", bound, False, "x", value)

    def smaller(self, what: str, ours: Key, other: str, bound: float) -> Target:
        """How many times as much memory the other takes."""
        value = self.memory_ratio(ours._replace(name=other), ours)
        return Target(f"{what}, L={ours.length}: times less memory", bound, False, "x", value)

    def seconds(self, key: Key) -> Sequence[float]:
        return self.measured.seconds.get(key, ())

    def memory_ratio(self, numerator: Key, denominator: Key) -> Spread | None:
        above, below = (self.measured.peak_bytes.get(k, ()) for k in (numerator, denominator))
        ratios = [a / max(b, 1) for a in above for b in below]
        return spread(ratios) if ratios else None

    def causal_against_performer_pytorch(self) -> Iterator[Target]:
        ours = Key("causal", "FAVOR+ softmax", self.sizes.middle)
        peer = "performer-pytorch fallback"
        what = "causal softmax, performer-pytorch as pip installs it"
        yield self.faster(what, ours, peer, 22)
        yield self.smaller(what, ours, peer, 50)
        peer = "performer-pytorch compiled"
        what = "causal softmax, performer-pytorch on EPFL's compiled product"
        yield self.faster(what, ours, peer, 2.5)._replace(needs=COMPILED)
        yield self.smaller(what, ours, peer, 3)._replace(needs=COMPILED)

    def causal_against_exact(self) -> Iterator[Target]:
        ours, exact = (Key("causal", name, 0) for name in ("FAVOR+ softmax", "SDPA"))
        what = "causal softmax, SDPA"
        advantage = {}
        for length in self.sizes.lengths:
            times = (self.seconds(key._replace(length=length)) for key in (exact, ours))
            advantage[length] = ratio(*times).median
        start = crossover(self.sizes.lengths, advantage)
        found = spread([float("inf") if start is None else start])
        yield Target(f"{what}: faster from", 1024, True, "positions", found)
        for length, bound in ((self.sizes.middle, 1.8), (self.sizes.long, 6)):
            yield self.faster(what, ours._replace(length=length), "SDPA", bound)
        long = self.sizes.long
        memory = self.memory_ratio(ours._replace(length=long), exact._replace(length=long))
        yield Target(f"{what}, L={long}: memory, times SDPA's", 2, True, "x", memory)

    def bidirectional(self) -> Iterator[Target]:
        for kernel in KERNELS:
            for length in (self.sizes.middle, self.sizes.long):
                ours = Key("bidirectional", f"FAVOR+ {kernel}", length)
                what, peer = f"bidirectional {kernel}, performer-pytorch", "performer-pytorch"
                yield self.faster(what, ours, f"{peer} {kernel}", 2)
                yield self.smaller(what, ours, f"{peer} {kernel}", 3)
        for length, bound in ((self.sizes.middle, 4.5), (self.sizes.long, 15)):
            ours = Key("bidirectional", "FAVOR+ ReLU", length)
            yield self.faster("bidirectional ReLU, SDPA", ours, "SDPA", bound)

    def share_of_peak(self) -> Iterator[Target]:
        sizes, length = self.sizes, self.sizes.middle
        peak = self.seconds(Key(PEAK, PEAK, sizes.matrix))
        for direction, bound in (("bidirectional", 60), ("causal", 65)):
            operations = favor_operations(
                direction == "causal",
                length,
                heads=sizes.heads,
                head_dim=sizes.head_dim,
                num_features=sizes.features,
            )
            share = 100 * sum(operations) / (2 * sizes.matrix**3)
            for kernel in KERNELS:
                times = self.seconds(Key(direction, f"FAVOR+ {kernel}", length))
                value = ratio([share * seconds for seconds in peak], times)
                what = f"{direction} {kernel}, L={length}: share of the matrix-product peak"
                yield Target(what, bound, False, "%", value)

    def training_steps(self) -> Iterator[Target]:
        sizes, length = self.sizes, self.sizes.middle
        bare = self.seconds(Key(STEP + VALUES_DIRECTION, VALUES, length))
        for direction, bound in (("bidirectional", 90), ("causal", 72)):
            for kernel in KERNELS:
                times = self.seconds(Key(STEP + direction, f"FAVOR+ {kernel}", length))
                value = ratio([100 * seconds for seconds in bare], times)
                what = f"training step {sizes.long // length} x {length}, {direction} {kernel}"
                yield Target(
                    f"{what}: tokens/s, of those without attention", bound, False, "%", value
                )

    def growth(self) -> Iterator[Target]:
        long, longest = self.sizes.long, self.sizes.longest
        for direction in ("causal", "bidirectional"):
            for kernel in KERNELS:
                small, large = (
                    Key(direction, f"FAVOR+ {kernel}", length) for length in (long, longest)
                )
                what = f"{direction} {kernel}, L={long} to {longest}"
                value = ratio(self.seconds(large), self.seconds(small))
                yield Target(f"{what}: growth of time", 4.2, True, "x", value)
                memory = self.memory_ratio(large, small)
                yield Target(f"{what}: growth of memory", 4.2, True, "x", memory)

    def rivals(self) -> Iterator[Target]:
        pairs = (
            ("causal", "Reformer", "reformer-pytorch"),
            ("bidirectional", "Reformer", "reformer-pytorch"),
            ("bidirectional", "Linformer", "linformer (peer)"),
        )
        for direction, ours, peer in pairs:
            for length in (self.sizes.middle, self.sizes.long):
                what = f"{direction} {ours}, {peer}"
                yield self.faster(what, Key(direction, ours, length), peer, 1)
