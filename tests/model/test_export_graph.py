"""A whole model as a graph of any length, for those who serve it without this package's code."""

import pytest
import torch
from tiny import RELU, SOFTMAX, tiny_config, tiny_network


@pytest.mark.parametrize(
    ("objective", "attention"),
    [("mlm", RELU), ("causal", {**RELU, "feature_map": "softmax"}), ("causal", SOFTMAX)],
)
def test_a_model_exports_with_any_length(objective, attention):
    network = tiny_network(tiny_config(objective, attention)).eval()

    def tokens(length):
        drawn = torch.randint(4, 24, (2, length), generator=torch.Generator().manual_seed(length))
        mask = torch.ones(2, length, dtype=torch.bool)
        mask[1, length // 2 :] = False
        return drawn, mask

    dims = ({1: torch.export.Dim.AUTO}, {1: torch.export.Dim.AUTO})
    with torch.no_grad():
        exported = torch.export.export(network, tokens(70), dynamic_shapes=dims).module()
        for length in (9, 130, 300):
            drawn, mask = tokens(length)
            expected = network(drawn, mask)[mask]
            found = exported(drawn, mask)[mask]
            assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)
