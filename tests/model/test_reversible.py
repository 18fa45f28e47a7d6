import pytest
import torch
from torch import nn
from torch.testing import assert_close

from protein_performer.attention.linformer import Linformer
from protein_performer.attention.reformer.reformer import Reformer
from protein_performer.attention.softmax import Softmax
from protein_performer.errors import UserError
from protein_performer.model.config import TrunkConfig
from protein_performer.model.reversible import reversible
from protein_performer.model.transformer import ProteinTransformer

V = 30
OPTIONS = {"d_model": 16, "num_heads": 2, "d_ff": 24, "causal": False, "residual": "reversible"}


def layerwise_linformer(spec):
    return Linformer(spec, max_length=12, num_keys=4)


def small_chunks(spec):
    return Reformer(spec, chunk=4, num_rounds=2)


ATTENTION = {"softmax": Softmax, "linformer": layerwise_linformer, "reformer": small_chunks}


def remembered(blocks, x, parameters):
    """The same blocks, with every activation left to autograd."""
    first = second = x
    for attention, mlp in blocks:
        first = first + attention(second)
        second = second + mlp(first)
    return (first + second) / 2


def model_and_batch(attention, num_layers=3, dropout=0.3):
    torch.manual_seed(0)
    model = ProteinTransformer(
        V, attention, TrunkConfig(num_layers=num_layers, dropout=dropout, **OPTIONS)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    mask = torch.arange(12) < torch.tensor([[12], [9]])
    return model.double().train(), torch.randint(4, V, (2, 12)), mask


def loss_and_gradients(model, tokens, mask):
    torch.manual_seed(1)
    logits = model(tokens, mask)
    loss = logits[mask].log_softmax(-1)[:, 5].mean()
    return loss, *torch.autograd.grad(loss, list(model.parameters()))


def errors_of_reconstruction(model, batch, monkeypatch):
    """Of the loss and of each gradient, relative, against remembered activations."""
    recomputed = loss_and_gradients(model, *batch)
    after = torch.rand(3)
    with monkeypatch.context() as patch:
        patch.setattr("protein_performer.model.transformer.reversible", remembered)
        expected = loss_and_gradients(model, *batch)
    assert torch.equal(torch.rand(3), after)  # the backward pass leaves the random stream alone
    assert all(wanted.norm() > 0 for wanted in expected)
    return [
        ((got - wanted).norm() / wanted.norm()).item()
        for got, wanted in zip(recomputed, expected, strict=True)
    ]


@pytest.mark.parametrize("attention", ATTENTION)
def test_gradients_equal_those_of_remembered_activations(attention, monkeypatch):
    """With dropout on, so that each branch must draw again what it drew first.

    Blocks are reconstructed by subtraction, whose rounding the network amplifies by as much as its
    weights have it. Rounding is told from a defect by what float64 does to it: it shrinks by 2^29.
    """
    model, *batch = model_and_batch(ATTENTION[attention])
    in_float32 = errors_of_reconstruction(model.float(), batch, monkeypatch)
    in_float64 = errors_of_reconstruction(model.double(), batch, monkeypatch)
    for coarse, fine in zip(in_float32, in_float64, strict=True):
        assert fine <= 2**-29 * 30 * max(coarse, 1e-6)
        assert fine < 1e-6  # other dropout would be felt a million times as much


def test_dropout_is_drawn_at_all():
    model, tokens, mask = model_and_batch(Softmax)
    assert (
        loss_and_gradients(model, tokens, mask)[0]
        != loss_and_gradients(model.eval(), tokens, mask)[0]
    )


def test_backward_accumulates_and_leaves_frozen_weights_alone():
    model, tokens, mask = model_and_batch(Softmax, dropout=0.0)
    model.blocks[1].requires_grad_(False)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    once = torch.autograd.grad(model(tokens, mask).sum(), trained)
    for _ in range(2):
        model(tokens, mask).sum().backward()
    assert all(parameter.grad is None for parameter in model.blocks[1].parameters())
    for parameter, grad in zip(trained, once, strict=True):
        assert_close(parameter.grad, 2 * grad, rtol=1e-10, atol=1e-12)


def saved_bytes(model, tokens, mask):
    total = 0

    def pack(tensor):
        nonlocal total
        # Weights are kept anyway.
        if not isinstance(tensor, nn.Parameter) and not tensor.is_leaf:
            total += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(tokens, mask)
    return total


def test_memory_does_not_grow_with_depth(monkeypatch):
    depths = [
        saved_bytes(*model_and_batch(Softmax, num_layers=layers, dropout=0.0)) for layers in (2, 8)
    ]
    assert depths[0] == depths[1] > 0
    monkeypatch.setattr("protein_performer.model.transformer.reversible", remembered)
    plain = [
        saved_bytes(*model_and_batch(Softmax, num_layers=layers, dropout=0.0)) for layers in (2, 8)
    ]
    assert plain[1] > 2 * plain[0] > 2 * depths[0]


def test_autocast_is_the_same_both_times():
    seen = []

    def branch(x):
        seen.append(torch.is_autocast_enabled("cpu"))
        return x @ weight

    weight = nn.Parameter(torch.randn(4, 4) / 4)
    x = torch.randn(2, 3, 4, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = reversible([(branch, branch)], x, [weight])
    out.sum().backward()
    assert seen == [True] * 4
    assert x.grad.dtype == weight.grad.dtype == torch.float32
    assert_close(out, remembered([(branch, branch)], x, [weight]), rtol=0.02, atol=0.02)


def test_the_kind_of_residual_is_checked():
    with pytest.raises(UserError, match=r"model\.residual: expected one of plain, reversible"):
        TrunkConfig(num_layers=1, **OPTIONS | {"residual": "revnet"})
