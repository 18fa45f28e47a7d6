"""The schedules of linear attention: they agree, at any block size, on any device's code path."""

import pytest
import torch
from agreement import DTYPES, check
from favor_oracles import POSITIVE, dense, layer

from protein_performer.attention.favor import linear as linear_batched
from protein_performer.attention.favor.cpu import bidirectional as linear_bidirectional
from protein_performer.attention.favor.cpu import causal as linear_causal
from protein_performer.attention.favor.cpu import scratch
from protein_performer.attention.favor.features import FEATURE_MAPS, favor_plus_plus
from protein_performer.attention.padding import zero_padding

CAUSAL = pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])


def all_at_once(favor):
    """The schedule for GPUs and compilers, on CPU tensors."""

    def attend(q, k, v, *, key_mask):
        name, w = favor.options.feature_map, favor.projection.to(q.dtype)
        features = FEATURE_MAPS[name](w).base2()
        if favor.spec.causal:
            out, _ = linear_batched.causal(q, k, v, features, key_mask, favor.options.renormalize)
        else:
            out = linear_batched.bidirectional(
                q, k, v, features, key_mask, favor.options.renormalize
            )
        return zero_padding(out, key_mask)

    return attend


@CAUSAL
@pytest.mark.parametrize("name", [name for name in POSITIVE if name != "favor++"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chunk", [5, 128])
def test_all_at_once_equals_the_dense_formula(name, dtype, chunk, causal, monkeypatch):
    monkeypatch.setattr(linear_batched, "CHUNK", chunk)
    favor = layer(causal, feature_map=name).to(dtype)
    check(all_at_once(favor), dense(favor), dtype=dtype, scale=1.0)


@CAUSAL
@pytest.mark.parametrize("name", ["softmax", "relu", "trigonometric"])
@pytest.mark.parametrize(
    "sizes", [(1, 4, 1), (4, 16, 1), (8, 64, 2), (16, 8, 8), (4, 40, 10)], ids=str
)
def test_blocks_of_any_size_equal_the_dense_formula(name, sizes, causal, monkeypatch):
    """And groups of one head, of some heads of a row, and of all heads of two or three rows."""
    chunk, positions, heads = sizes
    monkeypatch.setattr(linear_causal, "CHUNKS", (chunk, chunk))
    monkeypatch.setattr(linear_causal, "FEATURES", 11 * positions)
    monkeypatch.setattr(linear_causal, "HEADS", heads)
    monkeypatch.setattr(linear_bidirectional, "BLOCK", chunk)
    monkeypatch.setattr(linear_bidirectional, "FEATURES", 11 * positions)
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


def test_states_of_evaluation_are_not_kept(monkeypatch):
    """Without gradients the memory does not grow with the length."""
    sizes = []
    new_empty = torch.Tensor.new_empty

    def watched(self, *shape, **options):
        out = new_empty(self, *shape, **options)
        sizes.append(out.numel())
        return out

    monkeypatch.setattr(torch.Tensor, "new_empty", watched)
    monkeypatch.setattr(linear_causal, "FEATURES", 2**12)
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


def test_scratch_hands_out_what_it_holds():
    buffers = scratch.Scratch(torch.zeros(1))
    first = buffers("a", 2, 3)
    assert buffers("a", 2, 3) is first
    assert buffers("a", 3, 2).data_ptr() == first.data_ptr()
    assert buffers("b", 2, 3).data_ptr() != first.data_ptr()
    assert buffers("a", 4, 4).shape == (4, 4)
    assert buffers("a", 2, 3).data_ptr() != first.data_ptr()


def test_scratch_remembers_few_shapes():
    """Each batch of a long training may have a shape of its own."""
    buffers = scratch.Scratch(torch.zeros(1))
    largest = buffers("a", 2000)
    views = [buffers("a", size) for size in range(1, 2000)]
    assert len(buffers._views) <= scratch.VIEWS
    assert all(view.data_ptr() == largest.data_ptr() for view in views)


def test_scratch_serves_the_next_call_of_its_kind():
    like = torch.zeros(1)
    first = scratch.Scratch.borrow(like)
    assert scratch.Scratch.borrow(like) is not first  # it is in use
    first("a", 5)
    first.give_back()
    assert scratch.Scratch.borrow(like.double()) is not first
    with torch.inference_mode():
        assert scratch.Scratch.borrow(torch.zeros(1)) is not first
    assert scratch.Scratch.borrow(like) is first
    first("b", scratch.KEPT)
    first.give_back()
    assert scratch.Scratch.borrow(like) is not first  # too large to keep


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


def test_optimal_features_at_once_equal_blocks():
    favor = layer(False, feature_map="favor++")
    q, k, v = torch.randn(3, 1, 2, 20, 8, generator=torch.Generator().manual_seed(0))
    features = favor_plus_plus(favor.projection, 3.0)
    q_gained, k_gained = q * features.gain, k * features.gain
    features = features.__class__(
        features.weight, offset=features.offset, norm=features.norm / features.gain**2
    ).base2()
    out = linear_batched.bidirectional(q_gained, k_gained, v, features, None, True)
    assert torch.allclose(out, favor(q, k, v, key_mask=None), rtol=1e-5, atol=1e-6)
