"""Muon against its formula on float64 singular values, and against AdamW."""

import copy

import pytest
import torch
from tiny import tiny_config
from torch import nn

from protein_performer.errors import UserError
from protein_performer.model.build import build_model
from protein_performer.model.config import ModelConfig
from protein_performer.training import optim
from protein_performer.training.optim import muon, orthogonalize

OPTIONS = {"lr": 0.01, "momentum": 0.9, "betas": (0.9, 0.98), "eps": 1e-9, "weight_decay": 0.1}


def model():
    torch.manual_seed(0)
    return build_model(ModelConfig.from_plain(tiny_config()["model"]), 30).double()


def step(optimizer, model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)
    optimizer.step()


def by_singular_values(matrix):
    """The iteration on the singular values alone, in float64."""
    u, values, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    values = values / values.norm()
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return u @ torch.diag(values) @ v


@pytest.mark.parametrize("shape", [(8, 8), (5, 12), (12, 5), (1, 7)])
def test_singular_vectors_stay_and_values_follow_the_polynomial(shape):
    torch.manual_seed(0)
    matrices = torch.randn(3, *shape)
    expected = torch.stack([by_singular_values(each) for each in matrices])
    torch.testing.assert_close(orthogonalize(matrices).double(), expected, rtol=1e-4, atol=1e-5)


def test_singular_values_come_near_one_at_any_scale():
    torch.manual_seed(0)
    matrices = torch.randn(4, 16, 64)
    for scale in (1e-12, 1.0, 1e12):
        values = torch.linalg.svdvals(orthogonalize(matrices * scale))
        assert 0.65 < values.min() <= values.max() < 1.25
    assert torch.equal(orthogonalize(torch.zeros(1, 4, 4)), torch.zeros(1, 4, 4))


@pytest.mark.parametrize("shape", [(48, 64), (64, 48)])
def test_in_bfloat16_the_result_moves_by_a_percent(shape):
    torch.manual_seed(0)
    matrices = torch.randn(3, *shape)
    expected = orthogonalize(matrices)
    half = orthogonalize(matrices, dtype=torch.bfloat16)
    assert half.dtype == torch.float32
    assert 1e-4 < (half - expected).norm() / expected.norm() < 0.02
    values = torch.linalg.svdvals(half)
    assert 0.3 < values.min() <= values.max() < 1.25


@pytest.mark.parametrize(
    ("precision", "gains", "expected"),
    [
        ("bf16-mixed", True, torch.bfloat16),
        ("bf16-mixed", False, torch.float32),
        ("32-true", True, torch.float32),
    ],
)
def test_products_follow_the_training_where_the_device_has_them(
    monkeypatch, precision, gains, expected
):
    seen = []

    def spy(matrices, *, dtype):
        seen.append(dtype)
        return matrices

    monkeypatch.setattr(optim, "multiplies_bfloat16", lambda device: gains)
    monkeypatch.setattr(optim, "orthogonalize", spy)
    trained = model()
    step(muon(trained, **OPTIONS, precision=precision), trained)
    assert set(seen) == {expected}


def test_a_matrix_moves_by_its_orthogonalized_momentum():
    trained = model()
    weight = trained.blocks[0].mlp.inputs.weight
    optimizer = muon(trained, **OPTIONS)
    expected, momentum = weight.detach().clone(), torch.zeros_like(weight)
    for seed in range(3):
        step(optimizer, trained, seed)
        momentum = 0.9 * momentum + 0.1 * weight.grad
        direction = by_singular_values(0.1 * weight.grad + 0.9 * momentum)
        expected = (1 - 0.01 * 0.1) * expected - 0.01 * 0.2 * 32**0.5 * direction
        torch.testing.assert_close(weight.detach(), expected, rtol=0, atol=1e-6)


def test_what_is_no_hidden_matrix_moves_as_under_adamw():
    trained, plain = model(), model()
    optimizer = muon(trained, **OPTIONS)
    names = {id(p): name for name, p in trained.named_parameters()}
    hidden = {names[id(p)] for p in optimizer.param_groups[0]["params"]}
    assert "head.weight" not in hidden
    assert "embedding.weight" not in hidden
    of_adamw = {name: p for name, p in plain.named_parameters() if name not in hidden}
    matrices = [p for p in of_adamw.values() if p.ndim >= 2]
    vectors = [p for p in of_adamw.values() if p.ndim < 2]
    groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.98), eps=1e-9, weight_decay=0.1)
    for seed in range(3):
        step(optimizer, trained, seed)
        step(adamw, plain, seed)
    moved = dict(trained.named_parameters())
    for name, expected in of_adamw.items():
        assert torch.equal(moved[name], expected), name


def test_a_resumed_optimizer_goes_on_bit_for_bit():
    trained = model()
    optimizer = muon(trained, **OPTIONS)
    step(optimizer, trained, 1)
    again = copy.deepcopy(trained)
    resumed = muon(again, **OPTIONS)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(optimizer, trained, 2)
    step(resumed, again, 2)
    for left, right in zip(trained.parameters(), again.parameters(), strict=True):
        assert torch.equal(left, right)


def test_pieces_of_matrices_are_refused():
    with pytest.raises(UserError, match=r"FSDP.*adamw"):
        muon(nn.LayerNorm(8), **OPTIONS)
