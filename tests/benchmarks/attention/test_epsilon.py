"""What leaving the epsilon out costs is measured as said."""

import pytest

from benchmarks.attention import epsilon


@pytest.mark.parametrize("causal", [False, True])
def test_without_an_epsilon_large_norms_are_worse_than_an_average(causal, monkeypatch):
    monkeypatch.setattr(epsilon, "LENGTH", 256)
    small, large = (list(epsilon.errors(scale, causal)) for scale in (0.1, 1.0))
    assert max(small) < 0.1
    without, authors, uniform = large
    assert without > authors > uniform / 2
    assert without > 1 > uniform
