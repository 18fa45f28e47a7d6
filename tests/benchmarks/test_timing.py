"""Rounds on a clock of our own: who runs when, and what is made of the seconds."""

import math

import pytest

from benchmarks.timing import (
    Cell,
    Key,
    Spread,
    crossover,
    interleave,
    ratios,
    spread,
)


class Machine:
    """A clock that only steps move, on a machine that gets slower with every step."""

    def __init__(self):
        self.now = 0.0
        self.runs = []

    def cell(self, name, seconds, rounds=None):
        key = Key("causal", name, 512)

        def step():
            self.runs.append(name)
            self.now += seconds * (1 + 0.01 * len(self.runs))

        return Cell(key, lambda: step, rounds)


def test_every_round_runs_each_cell_once_and_cells_keep_their_order():
    machine = Machine()
    cells = [machine.cell("a", 1.0), machine.cell("b", 2.0), machine.cell("c", 3.0, rounds=1)]
    seconds = interleave(cells, 3, clock=lambda: machine.now)
    assert machine.runs == ["a", "b", "c", "a", "b", "a", "b"]
    assert [len(seconds[cell.key]) for cell in cells] == [3, 3, 1]
    assert seconds[cells[0].key] == pytest.approx([1.01, 1.04, 1.06])


def test_a_step_is_prepared_once_and_not_timed():
    machine = Machine()
    prepared = []
    plain = machine.cell("a", 1.0)

    def prepare():
        prepared.append(True)
        machine.now += 100
        return plain.prepare()

    seconds = interleave([plain._replace(prepare=prepare)], 4, clock=lambda: machine.now)
    assert prepared == [True]
    assert max(seconds[plain.key]) < 2


def test_ratios_within_rounds_hold_on_a_machine_that_slows_down():
    slowing = [1.0, 2.0, 8.0]
    ours, peer = [x * 1.0 for x in slowing], [x * 3.0 for x in slowing]
    assert ratios(peer, ours) == [3.0, 3.0, 3.0]
    assert len(ratios(peer[:2], ours)) == 2


def test_spread_of_an_even_number_of_samples():
    assert spread([4.0, 1.0, 2.0, 3.0]) == Spread(2.5, 1.0, 4.0, 4)


def test_crossover_lies_between_logarithms():
    # log2 of the advantage is -1 at 512 and +3 at 2048: zero a quarter of the way, in log L.
    found = crossover([512, 2048, 4096], {512: 0.5, 2048: 8.0, 4096: 0.1})
    assert found == pytest.approx(512 * 4**0.25)
    assert crossover([512, 1024], {512: 1.5, 1024: 3.0}) == 512
    assert crossover([512, 1024], {512: 0.1, 1024: 0.9}) is None
    assert math.isclose(crossover([512, 1024], {512: 0.1, 1024: 1.0}), 1024)
