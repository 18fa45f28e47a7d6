import sys

import pytest

from protein_performer.commands import progress as module
from protein_performer.commands.progress import progress


class Clock:
    """Stands for the module `time`."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(module, "time", found)
    return found


def test_in_a_log_there_is_a_line_a_minute_with_rate_and_time_left(clock, capsys):
    with progress("embedding") as show:
        for minute in range(4):
            clock.now = 40.0 * minute
            show(1000 * minute, 50_000 * minute, 10_000)
    assert capsys.readouterr().err == (
        "embedding: 2,000 proteins of 10,000, 5 min left, 1,250 residues/s\n"
    )


def test_without_a_known_total_nothing_is_made_up(clock, capsys):
    with progress("evaluating") as show:
        clock.now = 100.0
        show(10, 5000, None)
    assert capsys.readouterr().err == "evaluating: 10 proteins, 50 residues/s\n"


def test_on_a_terminal_there_is_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress("embedding") as show:
        show(1, 1000, 10)
    told = capsys.readouterr()
    assert "1/10" in told.err
    assert "residues/s" in told.err
    assert told.out == ""
