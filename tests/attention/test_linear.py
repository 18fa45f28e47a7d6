"""Linear attention in plain PyTorch: the dense formula, compiled, traced, at extremes."""

import pytest
import torch
from agreement import DTYPES, check
from favor_oracles import POSITIVE, all_at_once, dense, layer

from protein_performer.attention.favor import linear

CAUSAL = pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])


@CAUSAL
@pytest.mark.parametrize("name", POSITIVE)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chunk", [5, 128])
def test_all_at_once_equals_the_dense_formula(name, dtype, chunk, causal, monkeypatch):
    monkeypatch.setattr(linear, "CHUNK", chunk)
    favor = layer(causal, feature_map=name).to(dtype)
    check(all_at_once(favor), dense(favor), dtype=dtype, scale=1.0)


@CAUSAL
@pytest.mark.parametrize("norm", [30.0, 100.0, 300.0, 1e3])
def test_all_at_once_stays_finite_at_extremes(norm, causal):
    """Causal rows may be zero there; nothing may be infinite or NaN, gradients least of all."""
    favor = layer(causal, feature_map="softmax")
    q, k, v = torch.randn(3, 2, 2, 150, 8, generator=torch.Generator().manual_seed(0))
    q, k = (norm * x / x.norm(dim=-1, keepdim=True) for x in (q, k))
    q[1, :, ::2], k[1, :, 75:] = 0, 0
    leaves = [x.requires_grad_() for x in (q, k, v)]
    out = all_at_once(favor)(*leaves, key_mask=None)
    assert out.isfinite().all()
    assert out[1].abs().max() > 0
    assert all(x.isfinite().all() for x in torch.autograd.grad(out.sin().sum(), leaves))


@CAUSAL
@pytest.mark.parametrize("name", ["softmax", "relu"])
def test_compiles_as_one_graph(name, causal):
    favor = layer(causal, feature_map=name)
    compiled = torch.compile(favor, backend="aot_eager", fullgraph=True)
    mask = torch.ones(2, 37, dtype=torch.bool)
    mask[1, 20:] = False
    results = []
    for attend in (favor, compiled):
        q, k, v = torch.randn(3, 2, 2, 37, 8, generator=torch.Generator().manual_seed(0))
        leaves = [x.requires_grad_() for x in (q, k, v)]
        out = attend(*leaves, key_mask=mask)
        results.append([out, *torch.autograd.grad(out.sin().sum(), leaves)])
    for got, expected in zip(*results, strict=True):
        assert (got - expected).norm() < 1e-5 * expected.norm()
