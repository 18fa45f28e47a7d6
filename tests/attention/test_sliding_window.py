import pytest
import torch
from attention.agreement import DTYPES, SCALES, check, gradients_are_right
from oracles.mechanisms import softmax_attention

from protein_performer.attention.protocol import LayerSpec
from protein_performer.attention.sliding_window import SlidingWindow
from protein_performer.attention.softmax import Softmax
from protein_performer.errors import UserError


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("window", [1, 5, 64])
def test_equals_the_formula(causal, dtype, scale, window):
    def oracle(q, k, v, mask):
        return softmax_attention(q, k, v, mask, causal, window)

    mechanism = SlidingWindow(LayerSpec(2, 8, causal), window=window)
    check(mechanism, oracle, dtype=dtype, scale=scale)


@pytest.mark.parametrize("causal", [False, True])
def test_gradients_equal_finite_differences(causal):
    assert gradients_are_right(SlidingWindow(LayerSpec(1, 3, causal), window=2))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [1, 2, 31, 32, 33, 64, 65])
def test_a_window_as_wide_as_the_row_is_exact_attention(causal, length):
    spec = LayerSpec(2, 8, causal)
    q, k, v = torch.randn(3, 1, 2, length, 8, dtype=torch.float64)
    wide = SlidingWindow(spec, window=length)(q, k, v, key_mask=None)
    torch.testing.assert_close(wide, Softmax(spec)(q, k, v, key_mask=None), rtol=1e-12, atol=1e-12)
    if length > 2:
        narrow = SlidingWindow(spec, window=1)(q, k, v, key_mask=None)
        assert (narrow - wide).abs().max() > 1e-2


@pytest.mark.parametrize("causal", [False, True])
def test_no_gradient_from_beyond_the_window(causal):
    mechanism = SlidingWindow(LayerSpec(1, 4, causal), window=3)
    q, k, v = (torch.randn(1, 1, 20, 4, requires_grad=True) for _ in range(3))
    mechanism(q, k, v, key_mask=None)[0, 0, 10].sum().backward()
    reached = v.grad[0, 0].abs().sum(-1).nonzero()[:, 0].tolist()
    assert reached == list(range(7, 11 if causal else 14))


def test_a_window_of_zero_is_refused():
    with pytest.raises(UserError, match="window >= 1"):
        SlidingWindow(LayerSpec(1, 4, False), window=0)
