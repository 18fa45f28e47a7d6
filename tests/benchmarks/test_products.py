"""The count of operations against PyTorch's own, which watches what is executed."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.attention.products import favor_operations
from protein_performer.attention.favor.favor import Favor
from protein_performer.attention.protocol import LayerSpec


def in_place(into, a, b, *args, out_shape=None, **kwargs):
    return 2 * a[0] * a[1] * a[2] * b[2]


def executed(function):
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.baddbmm_: in_place})
    with counter:
        result = function()
    return counter.get_total_flops(), result


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("feature_map", ["softmax", "relu"])
@pytest.mark.parametrize("length", [40, 700, 2048])
def test_the_schedule_executes_what_is_counted(causal, feature_map, length):
    """To 1 %: products one column wide, of normalisers, are counted or not by the schedule."""
    heads, dim, num_features = 3, 32, 64
    spec = LayerSpec(heads, dim, causal)
    favor = Favor(spec, feature_map=feature_map, num_features=num_features)
    q, k, v = (torch.randn(1, heads, length, dim, requires_grad=True) for _ in range(3))
    forward, out = executed(lambda: favor(q, k, v, key_mask=None))
    backward, _ = executed(lambda: torch.autograd.grad(out.sum(), (q, k, v)))
    counted = favor_operations(causal, length, heads=heads, head_dim=dim, num_features=num_features)
    assert counted.forward == pytest.approx(forward, rel=0.01)
    assert counted.backward == pytest.approx(backward, rel=0.01)


def test_a_hand_count():
    # L = 2, D = 3, M = 5, E = 4, one head: 2 * 2 * 5 * (3 + 4 + 3 + 4) forward.
    assert favor_operations(False, 2, heads=1, head_dim=3, num_features=5).forward == 280
