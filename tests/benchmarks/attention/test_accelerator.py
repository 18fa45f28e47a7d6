import time

import pytest
import torch

from benchmarks.attention import accelerator
from benchmarks.attention.__main__ import main
from benchmarks.attention.accelerator import Cuda, accelerator_table, measure_accelerator
from benchmarks.attention.sizes import QUICK
from protein_performer.errors import UserError


class Clock:
    """Measures on the CPU what `Cuda` measures on a GPU."""

    device = "cpu"

    def seconds(self, step):
        start = time.perf_counter()
        step()
        return time.perf_counter() - start

    def peak_bytes(self, step):
        return sum(x.nbytes for x in step())


@pytest.fixture(autouse=True)
def without_the_linear_peer(monkeypatch):
    monkeypatch.setattr(accelerator, "is_importable", lambda name: False)


def test_every_contestant_is_measured_in_bfloat16():
    rows = measure_accelerator(Clock(), QUICK, rounds=2)
    lengths = (*QUICK.lengths, QUICK.longest)
    assert [(r["direction"], r["length"], r["contestant"]) for r in rows] == [
        (direction, length, name)
        for direction in ("causal", "bidirectional")
        for length in lengths
        for name in ("SDPA, flash", "FAVOR+ softmax", "FAVOR+ relu")
    ]
    assert accelerator_table(rows).row_count == len(rows)
    for row in rows:
        assert row["seconds"]["rounds"] == 2
        values = accelerator.BATCH * QUICK.heads * row["length"] * QUICK.head_dim
        assert row["peak_bytes"] == 3 * values * 2  # gradients of q, k and v in two bytes each


@pytest.mark.parametrize("wrong", [lambda x: 1.1 * x, lambda x: x * torch.nan])
def test_another_computation_is_refused(monkeypatch, wrong):
    right = accelerator._flash
    monkeypatch.setattr(accelerator, "_flash", lambda *a, **options: wrong(right(*a, **options)))
    with pytest.raises(UserError, match="SDPA, flash: expected its formula within 2%"):
        measure_accelerator(Clock(), QUICK, rounds=1)


def test_no_gpu_is_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="finds no GPU"):
        Cuda()


@pytest.mark.parametrize(("elapsed", "fits"), [(1e-3, True), (1e6, False), (0.0, False)])
def test_events_are_held_to_the_wall_clock(monkeypatch, elapsed, fits):
    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            pass

        def elapsed_time(self, other):
            return elapsed

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    passes = []

    def step():
        passes.append(time.sleep(1e-4))

    if fits:
        assert Cuda().seconds(step) == pytest.approx(elapsed / 1000 / accelerator.PASSES)
        assert len(passes) == accelerator.PASSES
    else:
        with pytest.raises(UserError, match="the times mean nothing"):
            Cuda().seconds(step)


def test_memory_is_what_a_pass_adds(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: calls.append("wait"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: calls.append("reset"))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: calls.append("before") or 100)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: calls.append("peak") or 130)
    assert Cuda().peak_bytes(lambda: calls.append("step")) == 30
    assert calls == ["wait", "reset", "before", "step", "wait", "peak"]


def test_the_command_says_that_there_is_no_gpu(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["--device", "cuda", "--quick"]) == 1
    assert "finds no GPU" in capsys.readouterr().err
