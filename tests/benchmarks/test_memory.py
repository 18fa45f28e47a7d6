"""Peak memory of a step whose memory is known."""

import torch

from benchmarks.memory import peak_in_fresh_process

MEGABYTE = 2**20


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
        peak = peak_in_fresh_process(prepare, 32)
        assert 63 * MEGABYTE < peak < 80 * MEGABYTE
        peak = peak_in_fresh_process(prepare, 32, preload=None)
        assert 63 * MEGABYTE < peak < 80 * MEGABYTE
