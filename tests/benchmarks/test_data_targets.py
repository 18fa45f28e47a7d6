"""Verdicts on figures of which one knows what they say."""

import pytest

from benchmarks.data.loading import Padding, Taken
from benchmarks.data.measure import DataFigures, Reading
from benchmarks.data.targets import data_targets
from benchmarks.fresh_process import Usage


def usage(megabytes):
    return Usage(None, 1.0, 1.0, int(2e6 * megabytes), int(1e6 * megabytes))


def figures(*, two_cores=100.0, inflating=300.0, large=109):
    """Rates in MB of text a second."""
    rates = {
        ("inflate", "zlib"): inflating,
        ("1 core", "zlib"): 61.0,
        ("2 cores", "zlib"): two_cores,
        ("gzip + Biopython", "zlib"): 20.0,
    }
    return DataFigures(
        codecs=["zlib"],
        readings={
            key: [Reading(rate * seconds, seconds, seconds) for seconds in (1.0, 2.0, 9.0)]
            for key, rate in rates.items()
        },
        memory={
            (what, size): usage(megabytes)
            for what in ("prepare", "loader")
            for size, megabytes in (("small", 100), ("large", large))
        },
        taken={"single proteins, 16384 tokens": [Taken(120_000, 1.0, 1.0)]},
        padding={"single proteins": Padding(100, 93), "concatenated task": Padding(100, 91)},
        step_seconds=[(0.01, 0.99), (0.03, 0.97), (0.01, 0.99)],
        simulated_proteins=2 * 10**8,
        start_seconds=4.0,
        start=usage(490),
    )


def verdicts(found):
    return {row.what: (row.measured.median, row.met) for row in data_targets(found)}


def test_every_row_is_measured_and_judged():
    shards = "FASTA.gz to shards, zlib"
    rank = "200,000,000 proteins, one rank"
    assert verdicts(figures()) == {
        f"{shards}, 1 core: text a second": (61, True),
        f"{shards}, 1 core: times gzip + Biopython": (pytest.approx(3.05), True),
        f"{shards}, 2 cores: times 1 core": (pytest.approx(100 / 61), True),
        "prepare: memory, times that of the small source": (1.09, True),
        "loader: memory, times that of the small source": (1.09, True),
        "batches of single proteins, 1 core: sequences a second": (120_000, True),
        "the loader's share of the default run": (pytest.approx(1), True),
        "padding, single proteins": (pytest.approx(7), True),
        "padding, concatenated task": (pytest.approx(9), False),
        f"{rank}: start to the first batch": (4.0, True),
        f"{rank}: memory, libraries and maps included": (0.98, True),
    }


def test_misses_are_misses():
    found = verdicts(figures(two_cores=90, large=111))
    assert [what for what, (_, met) in found.items() if not met] == [
        "FASTA.gz to shards, zlib, 2 cores: times 1 core",
        "prepare: memory, times that of the small source",
        "loader: memory, times that of the small source",
        "padding, concatenated task",
    ]


def test_where_inflating_is_the_limit_its_share_counts():
    found = verdicts(figures(two_cores=80, inflating=85))
    row = "FASTA.gz to shards, zlib, 2 cores: share of inflating alone"
    assert found[row] == (pytest.approx(100 * 80 / 85), True)


def test_one_core_alone_has_no_second_to_compare():
    found = figures()
    del found.readings["2 cores", "zlib"]
    (row,) = [row for row in data_targets(found) if "2 cores" in row.what]
    assert row.met is None
