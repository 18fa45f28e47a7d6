"""The table of targets from made-up times."""

import math

import pytest

from benchmarks.attention.products import favor_operations
from benchmarks.attention.sizes import OFFICIAL
from benchmarks.attention.targets import PEAK, Measured, targets
from benchmarks.timing import Key, Spread

# Seconds of each round as a power law of the length, and bytes in proportion to it.
SECONDS = {
    ("causal", "SDPA"): lambda n: 1e-7 * n * n,
    ("causal", "FAVOR+ softmax"): lambda n: 1e-4 * n,
    ("causal", "FAVOR+ ReLU"): lambda n: 1e-4 * n,
    ("bidirectional", "SDPA"): lambda n: 2e-7 * n * n,
    ("bidirectional", "FAVOR+ softmax"): lambda n: 5e-5 * n,
    ("bidirectional", "FAVOR+ ReLU"): lambda n: 5e-5 * n,
    ("training step, bidirectional", "values"): lambda n: 1.0,
    ("training step, bidirectional", "FAVOR+ softmax"): lambda n: 1.25,
    ("training step, bidirectional", "FAVOR+ ReLU"): lambda n: 1.0,
    ("training step, causal", "FAVOR+ softmax"): lambda n: 1.25,
    ("training step, causal", "FAVOR+ ReLU"): lambda n: 1.25,
}
PEERS = {
    ("causal", "performer-pytorch fallback"): lambda n: 2.5e-3 * n,
    ("causal", "performer-pytorch compiled"): lambda n: 3e-4 * n,
    ("bidirectional", "performer-pytorch softmax"): lambda n: 7e-5 * n,
    ("bidirectional", "performer-pytorch ReLU"): lambda n: 1.5e-4 * n,
}
LENGTHS = (*OFFICIAL.lengths, OFFICIAL.longest)


def measured(seconds):
    """Three rounds, of which the machine is half as fast in the second."""
    times = {
        Key(*names, length): [time(length), 2 * time(length), time(length)]
        for names, time in seconds.items()
        for length in LENGTHS
    }
    times[Key(PEAK, PEAK, OFFICIAL.matrix)] = [0.2, 0.4, 0.2]
    peaks = {key: [(60 if "fallback" in key.name else 1) * 1000 * key.length] for key in times}
    return Measured(times, peaks)


def row(seconds, *words):
    found = [
        target
        for target in targets(measured(seconds), OFFICIAL)
        if all(word in target.what for word in words)
    ]
    assert len(found) == 1, [target.what for target in found]
    return found[0]


@pytest.mark.parametrize(
    ("words", "value", "met"),
    [
        (("causal softmax, performer-pytorch as pip", "faster"), 25.0, True),
        (("causal softmax, performer-pytorch as pip", "memory"), 60.0, True),
        (("performer-pytorch on EPFL's compiled product", "faster"), 3.0, True),
        (("performer-pytorch on EPFL's compiled product", "memory"), 1.0, False),
        (("causal softmax, SDPA: faster from",), 1000.0, True),
        (("causal softmax, SDPA, L=2048: times faster",), 2.048, True),
        (("causal softmax, SDPA, L=8192: times faster",), 8.192, True),
        (("causal softmax, SDPA, L=8192: memory",), 1.0, True),
        (("bidirectional softmax, performer-pytorch, L=2048", "faster"), 1.4, False),
        (("bidirectional ReLU, performer-pytorch, L=8192", "faster"), 3.0, True),
        (("bidirectional ReLU, performer-pytorch, L=8192", "memory"), 1.0, False),
        (("bidirectional ReLU, SDPA, L=8192",), 32.768, True),
        (("training step", "bidirectional softmax"), 80.0, False),
        (("training step", "causal softmax"), 80.0, True),
        (("causal ReLU, L=8192 to 32768: growth of time",), 4.0, True),
    ],
)
def test_ratios_bounds_and_verdicts(words, value, met):
    target = row({**SECONDS, **PEERS}, *words)
    assert target.measured.median == pytest.approx(value, rel=1e-9)
    assert target.measured.low == pytest.approx(target.measured.high)  # within rounds
    assert target.met is met


def test_memory_that_differs_between_processes_counts_by_its_median():
    key = Key("causal", "performer-pytorch fallback", OFFICIAL.middle)
    taken = measured({**SECONDS, **PEERS})
    peaks = {**taken.peak_bytes, key: [1000 * key.length * times for times in (90, 20, 55)]}
    (found,) = (
        target.measured
        for target in targets(Measured(taken.seconds, peaks), OFFICIAL)
        if "as pip" in target.what and "memory" in target.what
    )
    assert found == Spread(55, 20, 90, 3)


def test_the_share_of_the_peak_is_operations_over_time():
    operations = favor_operations(True, 2048, heads=8, head_dim=64, num_features=256)
    peak = 2 * 2048**3 / 0.2
    share = 100 * sum(operations) / (1e-4 * 2048) / peak
    assert row(SECONDS, "causal softmax", "peak").measured.median == pytest.approx(share)


def test_without_peers_their_rows_have_no_verdict():
    for target in targets(measured(SECONDS), OFFICIAL):
        ours_alone = not any(word in target.what for word in ("performer-pytorch", "former, "))
        assert (target.met is not None) == ours_alone, target.what


def test_never_faster_is_a_miss():
    slow = {**SECONDS, ("causal", "FAVOR+ softmax"): lambda n: 1e-6 * n * n}
    target = row(slow, "faster from")
    assert target.measured == Spread(math.inf, math.inf, math.inf, 1)
    assert target.met is False
