import pytest
from attention.agreement import DTYPES, SCALES, check, gradients_are_right
from oracles.mechanisms import softmax_attention

from protein_performer.attention.protocol import LayerSpec
from protein_performer.attention.softmax import Softmax


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", SCALES)
def test_equals_the_formula(causal, dtype, scale):
    def oracle(q, k, v, mask):
        return softmax_attention(q, k, v, mask, causal)

    check(Softmax(LayerSpec(2, 8, causal)), oracle, dtype=dtype, scale=scale)


@pytest.mark.parametrize("causal", [False, True])
def test_gradients_equal_finite_differences(causal):
    assert gradients_are_right(Softmax(LayerSpec(1, 3, causal)))
