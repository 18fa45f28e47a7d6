"""Causal FAVOR+ position by position, with a state that does not grow."""

import pytest
import torch
from attention.favor.dense_layer import POSITIVE, layer

from protein_performer.errors import UserError

LENGTH = 150


def tensors(batch=2):
    return torch.randn(3, batch, 2, LENGTH, 8, generator=torch.Generator().manual_seed(0))


def run(favor, q, k, v, sizes, mask=None):
    state, outs, at = favor.init_state(q.shape[0]), [], 0
    for size in sizes:
        part = slice(at, at + size)
        key_mask = None if mask is None else mask[:, part]
        out, state = favor.step(*(x[:, :, part] for x in (q, k, v)), state, key_mask=key_mask)
        outs.append(out)
        at += size
    assert at == LENGTH
    return torch.cat(outs, dim=2), state


@pytest.mark.parametrize("name", [*POSITIVE, "identity"])
@pytest.mark.parametrize("normalize", [True, False])
def test_steps_equal_the_parallel_form(name, normalize):
    favor = layer(True, feature_map=name, normalize=normalize).double()
    q, k, v = tensors().double()
    whole = favor(q, k, v, key_mask=None)
    out, state = run(favor, q, k, v, [1] * LENGTH)
    assert torch.allclose(out, whole, rtol=1e-9, atol=1e-9)
    assert state.sums.shape == favor.init_state(2).sums.shape


@pytest.mark.parametrize("name", ["softmax", "relu"])
@pytest.mark.parametrize("first", [1, 63, 64, 65, 128, 149])
def test_any_boundary_gives_the_same(name, first):
    favor = layer(True, feature_map=name)
    q, k, v = tensors()
    whole = favor(q, k, v, key_mask=None)
    out, _ = run(favor, q, k, v, [first, LENGTH - first])
    assert (out - whole).abs().max() < 1e-5 * whole.abs().max()


@pytest.mark.parametrize("name", ["softmax", "relu"])
def test_padding_leaves_the_state_as_it_is(name):
    favor = layer(True, feature_map=name)
    q, k, v = tensors()
    mask = torch.ones(2, LENGTH, dtype=torch.bool)
    mask[0, :40] = False  # prompts of two lengths, padded on the left
    out, _ = run(favor, q, k, v, [1] * 5 + [80] + [1] * 65, mask)
    whole = favor(q, k, v, key_mask=mask)
    assert (out - whole).abs().max() < 1e-5 * whole.abs().max()
    assert out[0, :, :40].abs().max() == 0


def test_a_step_leaves_its_argument_as_it_was():
    favor = layer(True, feature_map="softmax")
    q, k, v = (x[:, :, :3] for x in tensors())
    state = favor.init_state(2)
    before = [x.clone() for x in state]
    favor.step(q, k, v, state)
    assert all(torch.equal(old, new) for old, new in zip(before, state, strict=True))


def test_gradients_flow_through_the_state():
    favor = layer(True, feature_map="softmax").double()
    q, k, v = tensors().double()
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    stepped = torch.autograd.grad(run(favor, *leaves, [50, 100])[0].sin().sum(), leaves)
    whole = torch.autograd.grad(favor(*leaves, key_mask=None).sin().sum(), leaves)
    for got, expected in zip(stepped, whole, strict=True):
        assert torch.allclose(got, expected, rtol=1e-9, atol=1e-10)


def test_bidirectional_layers_refuse():
    favor = layer(False)
    with pytest.raises(UserError, match="whole sequence"):
        favor.init_state(1)
    state = layer(True).init_state(2)
    with pytest.raises(UserError, match="whole sequence"):
        favor.step(*tensors(), state)
