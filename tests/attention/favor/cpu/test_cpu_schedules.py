"""The schedules for a CPU: they agree with the plain form, at any block size."""

import pytest
import torch
from attention.agreement import check
from attention.favor.dense_layer import all_at_once, dense, layer

from protein_performer.attention.favor.cpu import bidirectional, scratch
from protein_performer.attention.favor.cpu import causal as prefix_sums

CAUSAL = pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])


@CAUSAL
@pytest.mark.parametrize("name", ["softmax", "relu", "trigonometric"])
@pytest.mark.parametrize(
    "sizes", [(1, 4, 1), (4, 16, 1), (8, 64, 2), (16, 8, 8), (4, 40, 10)], ids=str
)
def test_blocks_of_any_size_equal_the_dense_formula(name, sizes, causal, monkeypatch):
    """And groups of one head, of some heads of a row, and of all heads of two or three rows."""
    chunk, positions, heads = sizes
    monkeypatch.setattr(prefix_sums, "CHUNKS", (chunk, chunk))
    monkeypatch.setattr(prefix_sums, "FEATURES", 11 * positions)
    monkeypatch.setattr(prefix_sums, "HEADS", heads)
    monkeypatch.setattr(bidirectional, "BLOCK", chunk)
    monkeypatch.setattr(bidirectional, "FEATURES", 11 * positions)
    favor = layer(causal, feature_map=name, heads=3).double()
    check(favor, dense(favor), dtype=torch.float64, scale=1.0, heads=3)


@CAUSAL
@pytest.mark.parametrize("name", ["softmax", "relu"])
def test_schedules_agree_over_many_blocks(name, causal):
    favor = layer(causal, feature_map=name, dim=16, num_features=40)
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 2, 1111, 16, generator=generator)
    k[0, :, 600] *= 20  # a key that owns every maximum, or none
    mask = torch.ones(2, 1111, dtype=torch.bool)
    mask[1, :300] = mask[1, 900:] = False
    results = []
    for attend in (favor, all_at_once(favor)):
        leaves = [x.clone().requires_grad_() for x in (q, k, v)]
        out = attend(*leaves, key_mask=mask)
        results.append([out, *torch.autograd.grad(out.sin().sum(), leaves)])
    for got, expected in zip(*results, strict=True):
        assert (got - expected).norm() < 1e-5 * expected.norm()


@CAUSAL
def test_memory_layout_does_not_matter(causal):
    """The trunk's (B, L, H, D) order, and a batch, come out the same and in that order."""
    favor = layer(causal, feature_map="softmax", heads=3)
    q, k, v = torch.randn(3, 2, 70, 3, 8, generator=torch.Generator().manual_seed(0)).transpose(
        2, 3
    )
    out = favor(q, k, v, key_mask=None)
    assert out.transpose(1, 2).is_contiguous()
    dense_order = favor(*(x.contiguous() for x in (q, k, v)), key_mask=None)
    assert torch.equal(out, dense_order)


def test_states_of_evaluation_are_not_kept(monkeypatch):
    """Without gradients the memory does not grow with the length."""
    sizes = []
    new_empty = torch.Tensor.new_empty

    def watched(self, *shape, **options):
        out = new_empty(self, *shape, **options)
        sizes.append(out.numel())
        return out

    monkeypatch.setattr(torch.Tensor, "new_empty", watched)
    monkeypatch.setattr(prefix_sums, "FEATURES", 2**12)
    favor = layer(True, feature_map="softmax")
    largest = {}
    for length in (1024, 4096):
        monkeypatch.setattr(scratch, "_idle", scratch._Idle())  # nothing left from other calls
        sizes.clear()
        q = torch.randn(1, 2, length, 8)
        with torch.no_grad():
            favor(q, q, q, key_mask=None)
        largest[length] = sum(sizes) - 2 * length  # the factor of each row is an output
    assert largest[1024] == largest[4096]


@CAUSAL
def test_training_goes_on_after_inference_mode(causal):
    favor = layer(causal, feature_map="softmax")
    q, k, v = torch.randn(3, 1, 2, 20, 8)
    with torch.inference_mode():
        evaluated = favor(q, k, v, key_mask=None).clone()
    leaves = [x.requires_grad_() for x in (q, k, v)]
    out = favor(*leaves, key_mask=None)
    out.sum().backward()
    assert torch.equal(out.detach(), evaluated)
