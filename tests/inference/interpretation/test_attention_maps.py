"""Matrices are those that the layers apply; what is summed in linear time equals their sums."""

import numpy as np
import pytest
import torch
from tiny import RELU, SOFTMAX, tiny_config, write_checkpoint

import protein_performer as pp
from protein_performer.errors import UserError
from protein_performer.inference.batcher import pad
from protein_performer.inference.interpretation.approximation_report import approximation_report
from protein_performer.inference.interpretation.attention_maps import (
    attention_maps,
    attention_to_kinds,
    map_projections,
    projections,
)
from protein_performer.inference.interpretation.residue_similarity import (
    blosum62,
    residue_similarity,
)

FAVOR_SOFTMAX = {**RELU, "feature_map": "softmax"}
REFORMER = {"_target_": "protein_performer.attention.reformer.reformer.Reformer", "chunk": 8}
PROTEINS = ["MKTAYIAKQRQISFVKSHFSRQ", "ACDEFGHIKLMNPQRSTVWY", "MKV"]


@pytest.fixture
def model(tmp_path):
    def make(attention=RELU, objective="mlm", **trunk):
        write_checkpoint(tmp_path / "a.ckpt", tiny_config(objective, attention, **trunk))
        return pp.load(tmp_path / "a.ckpt", device="cpu")

    return make


@pytest.mark.parametrize("attention", [RELU, FAVOR_SOFTMAX, SOFTMAX, REFORMER])
@pytest.mark.parametrize("objective", ["mlm", "causal"])
def test_rows_sum_to_one_and_times_the_values_are_the_output(model, attention, objective):
    lm = model(attention, objective)
    (codes,) = lm.encode(PROTEINS[0])
    maps = attention_maps(lm, codes)
    torch.testing.assert_close(maps.sum(-1), torch.ones(maps.shape[:-1]), rtol=0, atol=2e-6)
    if objective == "causal":
        assert maps.triu(1).abs().max() == 0
    rows = pad([codes], ends=objective == "mlm", device=torch.device("cpu"))
    with torch.inference_mode():
        inputs = projections(lm, rows)
        for layer, (q, k, v) in enumerate(inputs):
            out = lm.network.mechanisms[layer](q, k, v, key_mask=None)
            torch.testing.assert_close(maps[layer] @ v[0], out[0], rtol=1e-4, atol=1e-5)


def test_exact_attention_is_softmax_of_its_scores(model):
    lm = model(SOFTMAX)
    (codes,) = lm.encode(PROTEINS[1])
    rows = pad([codes], ends=True, device=torch.device("cpu"))
    with torch.inference_mode():
        q, k, _ = projections(lm, rows)[1]
        wanted = (q.double() @ k.double().mT / q.shape[-1] ** 0.5).softmax(-1)[0]
    got = attention_maps(lm, codes)[1].double()
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("attention", [FAVOR_SOFTMAX, SOFTMAX])
def test_attention_to_kinds_is_the_sum_of_the_matrices(model, attention):
    lm = model(attention)
    codes = lm.encode(PROTEINS)
    got = sum(map_projections(lm, codes, lambda rows: attention_to_kinds(lm, rows)))
    wanted = torch.zeros_like(got)
    for each in codes:
        inner = attention_maps(lm, each)[..., 1:-1, 1:-1].double().sum(-2)
        for position, code in enumerate(each):
            wanted[..., code - lm.alphabet.first_letter] += inner[..., position]
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


def test_a_tiny_threshold_changes_nothing_and_a_large_one_leaves_nothing(model):
    lm = model(SOFTMAX, num_heads=4)
    codes = lm.encode(PROTEINS)
    without = residue_similarity(lm, codes, least_weight=0.1, permutations=19)
    tiny = residue_similarity(lm, codes, threshold=1e-12, least_weight=0.1, permutations=19)
    np.testing.assert_allclose(tiny.similarity, without.similarity, rtol=1e-3, atol=1e-3)
    assert without.heads == 8
    with pytest.raises(UserError, match="at least 3 heads"):
        residue_similarity(lm, codes, threshold=1.5, least_weight=0.1)


def test_similarity_and_its_correlation_by_hand(model, monkeypatch):
    """Heads whose attention is BLOSUM itself, row by row, correlate with it as its rows do."""
    from protein_performer.inference.interpretation import residue_similarity as module

    lm = model()
    blosum = blosum62(lm.alphabet.standard)
    weights = np.hstack([blosum + 5, np.zeros((20, 6))]) * 100
    monkeypatch.setattr(module, "_weights", lambda *_: weights)
    found = residue_similarity(lm, [], permutations=199)
    shares = (blosum + 5) / (blosum + 5).sum(1, keepdims=True)
    below = np.tril_indices(20, -1)
    wanted = np.corrcoef(np.corrcoef(shares.T)[below], blosum[below])[0, 1]
    assert found.correlation == pytest.approx(wanted, rel=1e-12)
    assert found.correlation > 0.5
    assert found.p_value == 1 / 200


def test_blosum62_has_the_known_scores():
    blosum = blosum62("ACDEFGHIKLMNPQRSTVWY")
    assert (blosum == blosum.T).all()
    assert [blosum[18, 18], blosum[2, 3], blosum[4, 19], blosum[18, 1]] == [
        11,
        2,
        3,
        -2,
    ]


@pytest.mark.parametrize("objective", ["mlm", "causal"])
def test_errors_fall_with_features_and_uniform_attention_has_its_own(model, objective):
    lm = model(SOFTMAX, objective)
    with torch.no_grad():  # small queries and keys: where the kernel can be approximated
        for block in lm.network.blocks:
            block.attention.inputs.weight.mul_(0.05)
    codes = lm.encode(PROTEINS)
    rows = approximation_report(lm, codes, features=(8, 2048), draws=4)
    errors = {(row["layer"], row["map"], row["features"]): row["error"] for row in rows}
    for layer in (1, 2):
        for name in ("softmax", "hyperbolic", "trigonometric", "favor++"):
            assert errors[layer, name, 2048] < errors[layer, name, 8]
    squares = torch.zeros(2, 2, dtype=torch.float64)
    for each in codes:
        padded = pad([each], ends=objective == "mlm", device=torch.device("cpu"))
        with torch.inference_mode():
            for layer, (_, _, v) in enumerate(projections(lm, padded)):
                exact = attention_maps(lm, each)[layer].double() @ v[0].double()
                mean = v[0].double().mean(-2, keepdim=True)
                if objective == "causal":
                    steps = torch.arange(1, v.shape[2] + 1)[:, None]
                    mean = v[0].double().cumsum(-2) / steps
                squares[layer, 0] += (mean - exact).square().sum()
                squares[layer, 1] += exact.square().sum()
    for layer in (1, 2):
        wanted = float((squares[layer - 1, 0] / squares[layer - 1, 1]).sqrt())
        assert errors[layer, "uniform", 0] == pytest.approx(wanted, rel=1e-4)
