"""The peer's formula without its epsilons is ours; with them it is another one."""

import pytest
import torch
from torch.testing import assert_close

from benchmarks.attention.parity import peer_formula
from protein_performer.attention.favor.favor import Favor
from protein_performer.attention.protocol import LayerSpec


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kernel", ["softmax", "relu"])
def test_the_formula_without_epsilons_is_ours(kernel, causal):
    generator = torch.Generator().manual_seed(3)
    q, k, v = torch.randn(3, 2, 3, 70, 16, generator=generator, dtype=torch.float64)
    epsilon = 0.0 if kernel == "relu" else None
    favor = Favor(LayerSpec(3, 16, causal), feature_map=kernel, num_features=40, epsilon=epsilon)
    arguments = (q, k, v, favor.projection)
    formula = peer_formula(*arguments, kernel=kernel, causal=causal, epsilon=0.0, sum_epsilon=0.0)
    ours = favor(q, k, v, key_mask=None)
    assert_close(ours, formula, rtol=1e-10, atol=1e-10)
    moved = peer_formula(*arguments, kernel=kernel, causal=causal, epsilon=1e-2, sum_epsilon=0.0)
    assert (moved - ours).abs().max() > 1e-3
