import pytest
import torch

from protein_performer.attention.identity import Values
from protein_performer.attention.protocol import LayerSpec


@pytest.mark.parametrize("causal", [False, True])
def test_returns_its_values_and_zeros_at_padding(causal):
    q, k, v = torch.randn(3, 2, 2, 5, 4)
    mask = torch.tensor([[True] * 5, [False, True, True, False, False]])
    mechanism = Values(LayerSpec(2, 4, causal))
    assert torch.equal(mechanism(q, k, v, key_mask=None), v)
    out = mechanism(q, k, v, key_mask=mask)
    assert torch.equal(out, v * mask[:, None, :, None])
    assert out[1, :, 1].abs().min() > 0
