"""FAVOR+ of bfloat16 products: as a GPU computes it, on CPU tensors, and by a CPU's schedules.

The bounds: a bfloat16 has 8 bits, so one rounding is off by at most 2^-9, 0.2 %. Gradients of q
and k are differences of what a value and the output contribute: they lose more where few keys
decide.
"""

import pytest
import torch
from attention.favor.dense_layer import KERNELS, POSITIVE, all_at_once, layer
from torch.utils._python_dispatch import TorchDispatchMode

from protein_performer.attention.favor import favor as module
from protein_performer.attention.favor import linear, precision

CAUSAL = pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])
MAPS = sorted({*POSITIVE, *KERNELS, "trigonometric"})


@pytest.fixture(params=["GPU", "CPU"])
def rounding(request, monkeypatch):
    """Both forms multiply in bfloat16, whatever the processor of these tests gains from it."""
    monkeypatch.setattr(precision, "gains_from_bfloat16", lambda *_: True)
    if request.param == "GPU":
        monkeypatch.setattr(module, "_suits_blocks", lambda x: False)


EITHER = pytest.mark.usefixtures("rounding")


class Products(TorchDispatchMode):
    """Collects the dtypes of products."""

    def __init__(self):
        super().__init__()
        self.products = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket in (torch.ops.aten.bmm, torch.ops.aten.mm):
            self.products.add(args[0].dtype)
        return function(*args, **(kwargs or {}))


def drawn(length, dim=16, std=1.0, heads=2, batch=1):
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, batch, heads, length, dim, generator=generator)
    return [x.bfloat16() for x in (q * std, k * std, v)]


def results(attend, inputs, mask=None):
    leaves = [x.clone().requires_grad_() for x in inputs]
    out = attend(*leaves, key_mask=mask)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    return [out, *torch.autograd.grad(out, leaves, upstream.to(out.dtype))]


def errors(favor, inputs):
    got = results(favor, inputs)
    wanted = results(all_at_once(favor.double()), [x.double() for x in inputs])
    return [((a - b).norm() / b.norm()).item() for a, b in zip(got, wanted, strict=True)]


@EITHER
@CAUSAL
@pytest.mark.parametrize("name", ["softmax", "relu"])
@pytest.mark.parametrize("dim", [16, 128])
@pytest.mark.parametrize(("std", "of_gradients"), [(0.25, 0.01), (1.0, 0.01), (4.0, 0.025)])
def test_outputs_and_gradients_are_near_the_formula(name, causal, dim, std, of_gradients):
    favor = layer(causal, dim=dim, feature_map=name, num_features=256)
    of_outputs, *gradients = errors(favor, drawn(200, dim, std))
    assert of_outputs <= 0.005
    assert max(gradients) <= of_gradients


@EITHER
@CAUSAL
@pytest.mark.parametrize("name", ["softmax", "relu"])
def test_errors_do_not_grow_with_the_length(name, causal):
    favor = layer(causal, heads=1, feature_map=name, num_features=16)
    with torch.no_grad():
        q, k, v = drawn(32_768, dim=8, heads=1, std=0.5)
        v += 1  # or outputs are averages that vanish, and any error is large beside them
        out = favor(q, k, v, key_mask=None)
        wanted = all_at_once(favor.double())(q.double(), k.double(), v.double(), key_mask=None)
    for part in (slice(None), slice(32_000, None)):
        off = (out - wanted)[:, :, part].norm() / wanted[:, :, part].norm()
        assert off <= 0.005


@EITHER
@CAUSAL
@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("autocast", [False, True])
def test_what_is_no_token_of_the_row_changes_nothing_to_the_bit(name, causal, autocast):
    """Padding, another row of the batch, and the future: other numbers there, the same here."""
    favor = layer(causal, feature_map=name, dim=16)
    one = [x.float() if autocast else x for x in drawn(90, batch=2)]
    mask = torch.ones(2, 90, dtype=torch.bool)
    mask[0, :9] = mask[0, 40:44] = False
    hidden = ~mask[:, None, :, None].expand_as(one[0])
    hidden[1] = True
    if causal:
        hidden[0, :, 70:] = True
    other = [torch.where(hidden, 50 * x.flip(2), x) for x in one]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast), Products() as seen:
        before, after = (favor(*x, key_mask=mask) for x in (one, other))
    assert torch.bfloat16 in seen.products
    assert before.dtype == one[2].dtype
    kept = mask[0].clone()
    if causal:
        kept[70:] = False
    assert torch.equal(before[0][:, kept], after[0][:, kept])
    assert not torch.equal(before[1], after[1])
    assert before[0][:, ~mask[0]].abs().sum() == 0


@EITHER
@pytest.mark.parametrize("name", ["softmax", "relu"])
def test_steps_are_near_the_formula_and_keep_exact_states(name):
    favor = layer(True, dim=16, feature_map=name, num_features=256)
    inputs = drawn(150)
    state, outs = favor.init_state(1), []
    for part in zip(*(x.split([70, 1, 1, 78], dim=2) for x in inputs), strict=True):
        out, state = favor.step(*part, state)
        outs.append(out)
    assert {x.dtype for x in state} == {torch.float32}
    wanted = all_at_once(favor.double())(*(x.double() for x in inputs), key_mask=None)
    assert (torch.cat(outs, dim=2) - wanted).norm() <= 0.005 * wanted.norm()


@EITHER
@CAUSAL
@pytest.mark.parametrize("name", ["softmax", "relu", "favor++"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_nothing_else_is_rounded(name, causal, dtype):
    favor = layer(causal, feature_map=name)
    inputs = [x[..., :8].to(dtype) for x in drawn(40)]
    with Products() as seen:
        results(favor, inputs)
    exact = torch.promote_types(dtype, torch.float32)
    assert seen.products == {exact}


@CAUSAL
@pytest.mark.parametrize(
    ("name", "dim", "tiles", "gains"),
    [
        ("softmax", 64, True, True),
        ("relu", 64, True, True),
        ("relu", 32, True, True),
        ("softmax", 32, True, False),
        ("relu", 64, False, False),
    ],
)
def test_a_cpu_computes_in_float32_where_it_is_faster(name, dim, tiles, gains, causal, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(precision, "has_bfloat16_tiles", lambda device: tiles)
    favor = layer(causal, dim=dim, feature_map=name)
    inputs = drawn(40, dim)
    out = favor(*inputs, key_mask=None)
    in_float32 = favor(*(x.float() for x in inputs), key_mask=None).bfloat16()
    assert torch.equal(out, in_float32) is not gains


@CAUSAL
@pytest.mark.parametrize("name", MAPS)
def test_a_gpu_is_asked_for_no_value(name, causal, monkeypatch):
    """On the meta device whatever asks for one is an error."""
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: False)
    favor = layer(causal, feature_map=name, dim=16).to("meta")
    leaves = [x.to("meta").requires_grad_() for x in drawn(150)]
    mask = torch.ones(1, 150, dtype=torch.bool, device="meta")
    operands = favor._operands(*leaves, mask)
    assert operands.precision.rounds
    attend = linear.causal if causal else linear.bidirectional
    out = attend(operands)
    (out[0] if causal else out).sum().backward()
    assert all(x.grad is not None and x.grad.dtype == torch.bfloat16 for x in leaves)
