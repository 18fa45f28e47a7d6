"""A whole model as a graph of any length, for those who serve it without this package's code."""

import pytest
import torch
from tiny import RELU, SOFTMAX, tiny_config, tiny_network
from torch.utils._python_dispatch import TorchDispatchMode

from protein_performer.attention.favor.favor import Favor
from protein_performer.attention.protocol import LayerSpec


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


class Largest(TorchDispatchMode):
    """The most elements that an operation gives."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.elements = max(self.elements, out.numel())
        return out


@pytest.mark.parametrize("feature_map", ["softmax", "relu"])
def test_an_exported_scan_takes_memory_linear_in_the_length(feature_map):
    """Its chunks cannot grow with the length: of 257 of them, pairs would be twice the features."""
    favor = Favor(LayerSpec(1, 4, causal=True), feature_map=feature_map, num_features=64)

    def inputs(length):
        generator = torch.Generator().manual_seed(length)
        mask = torch.ones(1, length, dtype=torch.bool)
        mask[:, : length // 3] = False
        return {
            **dict(zip("qkv", torch.randn(3, 1, 1, length, 4, generator=generator), strict=True)),
            "key_mask": mask,
        }

    auto = torch.export.Dim.AUTO
    dims = {name: {2: auto} for name in "qkv"} | {"key_mask": {1: auto}}
    with torch.no_grad():
        exported = torch.export.export(favor, (), inputs(70), dynamic_shapes=dims).module()
        for length in (2000, 32768):
            with Largest() as largest:
                found = exported(**inputs(length))
            assert torch.allclose(found, favor(**inputs(length)), rtol=1e-4, atol=1e-5)
    assert largest.elements < 1.1 * 64 * 32768
