"""The operations that a step executes, against a count by hand."""

import pytest
import torch

from benchmarks.attention.measure import executed_operations
from benchmarks.attention.mechanisms import attention_step
from benchmarks.attention.sizes import QUICK
from protein_performer.attention.favor.favor import Favor
from protein_performer.attention.protocol import LayerSpec


def test_products_count_and_nothing_else():
    a, b, into = torch.randn(2, 3, 5), torch.randn(2, 5, 7), torch.zeros(2, 3, 7)
    assert executed_operations(lambda: (a @ b).exp() + 1) == 2 * 2 * 3 * 5 * 7
    assert executed_operations(lambda: into.baddbmm_(a, b)) == 2 * 2 * 3 * 5 * 7
    assert executed_operations(lambda: torch.mm(a[0], b[0], out=into[0])) == 2 * 3 * 5 * 7


@pytest.mark.parametrize("name", ["FAVOR+ softmax", "FAVOR+ ReLU"])
def test_the_bidirectional_schedule_executes_twelve_products(name):
    """To 2 %: products one column wide, of normalizers, are counted or not by the schedule.

    Forward: project k, sum values; project q, read sums. Backward: project both again; gradients of
    q, of phi(q), of sums; of k, of phi(k), of values.
    """
    length, dim = QUICK.middle, QUICK.head_dim
    expected = 2 * QUICK.heads * length * QUICK.features * (7 * dim + 5 * (dim + 1))
    assert executed_operations(attention_step(name, False, length, QUICK)) == pytest.approx(
        expected, rel=0.02
    )


def test_rows_that_are_computed_again_cost_in_proportion_to_their_length():
    """The CPU's causal schedule does so where all that a query may see underflows."""
    favor = Favor(LayerSpec(2, 16, causal=True), feature_map="softmax", num_features=32)

    def step(length, scale):
        generator = torch.Generator().manual_seed(0)
        q, k, v = torch.randn(3, 1, 2, length, 16, generator=generator)
        q, k, v = (x.requires_grad_() for x in (q * scale, k * scale, v))
        return lambda: favor(q, k, v, key_mask=None).sum().backward()

    short, long = (executed_operations(step(length, 150)) for length in (1024, 4096))
    assert short > 1.5 * executed_operations(step(1024, 1))  # they are computed again
    assert long < 4.5 * short
