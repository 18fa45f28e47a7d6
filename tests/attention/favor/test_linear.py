"""Linear attention in plain PyTorch: the dense formula, compiled, traced, at extremes."""

import pytest
import torch
from attention.agreement import DTYPES, check
from attention.favor.dense_layer import POSITIVE, all_at_once, dense, layer
from oracles import favor as oracles

from protein_performer.attention.favor import linear

CAUSAL = pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])


@CAUSAL
@pytest.mark.parametrize("name", POSITIVE)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chunk", [4, 128])
def test_all_at_once_equals_the_dense_formula(name, dtype, chunk, causal, monkeypatch):
    monkeypatch.setattr(linear, "CHUNK", chunk)
    favor = layer(causal, feature_map=name).to(dtype)
    check(all_at_once(favor), dense(favor), dtype=dtype, scale=1.0)


def log_features(favor, x):
    x = oracles.scaled(x.double())
    return x @ favor.projection.double().T - oracles.squares(x) / 2


def stepped(favor, sizes):
    """The layer in parts of those sizes, each going on from the state of the last."""

    def attend(q, k, v, *, key_mask):
        state, outs = favor.init_state(len(q), dtype=q.dtype), []
        for parts in zip(*(x.split(sizes, dim=2) for x in (q, k, v)), strict=True):
            out, state = favor.step(*parts, state)
            outs.append(out)
        return torch.cat(outs, dim=2)

    return attend


@pytest.mark.parametrize(
    "form",
    [lambda favor: favor, all_at_once, lambda f: stepped(f, 150 * [1]), lambda f: stepped(f, 75)],
    ids=["layer", "at once", "one by one", "in parts"],
)
@pytest.mark.parametrize("norm", [24.0, 88.0, 300.0, 1e3])
def test_no_scale_of_queries_and_keys_loses_a_row(form, norm):
    """Against logarithms of features, in which nothing underflows; half of the rows are small."""
    favor = layer(True, feature_map="softmax")
    q, k, v = torch.randn(3, 2, 2, 150, 8, generator=torch.Generator().manual_seed(0))
    q, k = (norm * x / x.norm(dim=-1, keepdim=True) for x in (q, k))
    q[1, :, ::2] /= norm
    k[1, :, ::3] /= norm
    for dtype, tolerance in ((torch.float32, 3e-7 * norm**2), (torch.float64, 1e-9)):
        leaves = [x.to(dtype).requires_grad_() for x in (q, k, v)]
        exact = [x.double().requires_grad_() for x in leaves]
        out = form(favor)(*leaves, key_mask=None)
        log_q, log_k = (log_features(favor, x) for x in exact[:2])
        expected = oracles.log_attention(log_q, log_k, exact[2])
        # Rounding moves exponents by as many units as they have digits before the point.
        assert (out - expected).norm() <= tolerance * expected.norm()
        grads = torch.autograd.grad(out.sin().sum(), leaves)
        wanted = torch.autograd.grad(expected.sin().sum(), exact)
        assert all(grad.isfinite().all() for grad in grads)
        assert (grads[2] - wanted[2]).norm() <= tolerance * wanted[2].norm()


@CAUSAL
@pytest.mark.parametrize("name", ["softmax", "relu"])
def test_compiles_as_one_graph(name, causal):
    favor = layer(causal, feature_map=name)
    compiled = torch.compile(favor, backend="aot_eager", fullgraph=True, dynamic=False)
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


@pytest.mark.parametrize(
    ("name", "causal"), [("softmax", False), ("relu", False), ("relu", True)]
)  # causal softmax: tests/model/test_export_graph.py
def test_exports_with_any_length(name, causal):
    favor = layer(causal, feature_map=name)

    class Whole(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.favor = favor

        def forward(self, q, k, v, mask):
            return self.favor(q, k, v, key_mask=mask)

    def example(length):
        q, k, v = torch.randn(3, 2, 2, length, 8, generator=torch.Generator().manual_seed(0))
        mask = torch.arange(length) < torch.tensor([[length], [length // 2]])
        return q, k, v, mask

    # Of a named length an exporter wants to prove that chunks fit; AUTO lets it believe so.
    length = torch.export.Dim.AUTO if causal else torch.export.Dim("length", min=2, max=100_000)
    dims = ({2: length}, {2: length}, {2: length}, {1: length})
    with torch.no_grad():
        exported = torch.export.export(Whole(), example(70), dynamic_shapes=dims).module()
        for some in (2, 127, 128, 129, 300):
            arguments = example(some)
            expected = favor(*arguments[:3], key_mask=arguments[3])
            assert torch.allclose(exported(*arguments), expected, rtol=1e-4, atol=1e-5)
