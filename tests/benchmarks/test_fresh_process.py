"""What a task in a process of its own is said to have taken."""

import os
import signal

import numpy as np
import pytest
import torch

from benchmarks.fresh_process import growth, in_fresh_process
from protein_performer.errors import UserError

MEGABYTE = 2**20


def hold(megabytes):
    """Anonymous memory, for long enough to be seen."""
    block = bytearray(b"x") * (megabytes * MEGABYTE)
    return sum(len(bytes(1000)) for _ in range(300_000)) and len(block)


def read_mapped(path):
    """Touch every page of a mapped file, and look at it for a while."""
    mapped = np.memmap(path, dtype=np.uint8, mode="r")
    return int(sum(mapped[:: 2**12].sum() for _ in range(20)))


def cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def mistake():
    raise UserError("a mistake of the user's")


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def test_anonymous_memory_and_mapped_files_are_told_apart(tmp_path):
    path = tmp_path / "mapped"
    path.write_bytes(bytes(64 * MEGABYTE))
    nothing = in_fresh_process(cores)
    mapped = in_fresh_process(read_mapped, path)
    held = in_fresh_process(hold, 64)
    assert held.result == 64 * MEGABYTE
    assert held.peak_anonymous_bytes - nothing.peak_anonymous_bytes > 60 * MEGABYTE
    assert mapped.peak_bytes - nothing.peak_bytes > 60 * MEGABYTE
    assert mapped.peak_anonymous_bytes - nothing.peak_anonymous_bytes < 20 * MEGABYTE


def test_one_core_is_one_core_and_its_time_is_told():
    usage = in_fresh_process(cores, cores=1)
    assert usage.result == 1
    assert 0 <= usage.cpu_seconds <= usage.seconds + 0.1


def test_mistakes_come_through_and_a_kill_is_told():
    with pytest.raises(UserError, match="of the user's"):
        in_fresh_process(mistake)
    with pytest.raises(UserError, match=r"killed\(\): its process ended \(exit code -9"):
        in_fresh_process(killed)


def allocate_and_free(megabytes):
    """A step that holds twice so much at its peak, and nothing after."""

    def step():
        a = torch.ones(megabytes * MEGABYTE // 4)
        (a + 1).sum()

    return step


def big_preparation(megabytes):
    """Frees far more before the step than the step will take."""
    torch.ones(20 * megabytes * MEGABYTE // 4).sum()
    return allocate_and_free(megabytes)


def test_the_peak_is_what_the_step_held_at_most():
    for prepare in (allocate_and_free, big_preparation):
        for preload in (("torch",), None):
            peak = in_fresh_process(growth, prepare, 32, preload=preload).result
            assert 63 * MEGABYTE < peak < 80 * MEGABYTE
