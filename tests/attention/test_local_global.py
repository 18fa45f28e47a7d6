import pytest
import torch
from attention.agreement import DTYPES, check
from attention.favor.dense_layer import dense
from oracles.mechanisms import softmax_attention

from protein_performer.attention.local_global import LocalGlobal
from protein_performer.attention.protocol import LayerSpec
from protein_performer.errors import UserError

OPTIONS = {"feature_map": "softmax", "num_features": 11}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("local", [1, 2])
def test_each_kind_of_head_equals_its_formula(causal, dtype, local):
    spec = LayerSpec(3, 8, causal, layer=1, seed=5)
    mechanism = LocalGlobal(spec, local_heads=local, window=4, favor=OPTIONS)

    def oracle(q, k, v, mask):
        near = softmax_attention(q[:, :local], k[:, :local], v[:, :local], mask, causal, 4)
        far = dense(mechanism.far)(q[:, local:], k[:, local:], v[:, local:], mask)
        return torch.cat([near, far], 1)

    check(mechanism, oracle, dtype=dtype, scale=1.0, heads=3)


def test_a_redraw_is_that_of_the_global_heads():
    spec = LayerSpec(4, 8, causal=False, seed=2)
    redrawn, first = (LocalGlobal(spec, favor=OPTIONS) for _ in range(2))
    redrawn.redraw_(3)
    assert not torch.equal(redrawn.far.projection, first.far.projection)
    first.far.redraw_(3)
    assert torch.equal(redrawn.far.projection, first.far.projection)
    assert redrawn.local_heads == 2


@pytest.mark.parametrize("local", [0, 2, None])
def test_heads_of_one_kind_only_are_refused(local):
    heads = 1 if local is None else 2
    with pytest.raises(UserError, match=r"attention\.local_heads: expected 1 to"):
        LocalGlobal(LayerSpec(heads, 8, False), local_heads=local, favor=OPTIONS)
