"""Measured errors of kernels are the theory's, those of attention a dense formula's."""

import json
import math

import pytest
import torch

from protein_performer.cli import main
from protein_performer.experiments.measures.attention_error import against_features
from protein_performer.experiments.measures.kernel_error import (
    estimates,
    lower_bound,
    pair,
    positive_error,
    smreg_share,
    trigonometric_error,
)


@pytest.mark.parametrize(
    ("name", "options", "theory"),
    [
        ("softmax", {}, positive_error),
        ("trigonometric", {"epsilon": 0.0}, trigonometric_error),
    ],
)
@pytest.mark.parametrize("angle", [1.0, 2.0])
def test_errors_are_those_of_lemma_2(name, options, theory, angle):
    x, y = pair(8, 0.4, angle)
    got = estimates(
        x, y, draws=4_000, num_features=2, seed=1, feature_map=name, projection="iid", **options
    )
    kernel = torch.exp(x @ y)
    squares = (got - kernel).square()
    # Four standard errors of each mean, measured on the draws themselves.
    assert abs(got.mean() - kernel) < 4 * got.std() / math.sqrt(len(got))
    assert abs(squares.mean() - theory(x, y, 2)) < 4 * squares.std() / math.sqrt(len(got))


def test_the_series_is_the_mean_over_directions():
    """E exp(sqrt(D) u.z) over directions u, integrated for D = 3, where u.z / |z| is uniform."""
    x, y = pair(3, 0.7, 0.6)
    z = float((x + y).norm())
    mean = math.sinh(math.sqrt(3) * z) / (math.sqrt(3) * z)
    assert smreg_share(x, y) == pytest.approx(mean * math.exp(-(z**2) / 2), rel=1e-12)


def test_smreg_is_a_lower_bound_and_has_its_closed_form():
    rows = lower_bound([0.3, 0.9], [4, 32], draws=400, seed=0)
    assert len(rows) == 4
    for row in rows:
        assert 0 < row["closed_form"] < 1
        assert abs(row["measured"] - row["closed_form"]) < row["four_errors"]


def test_uniform_attention_has_the_error_of_its_formula_and_more_features_have_less():
    rows = against_features([16, 512], length=64, dim=4, std=0.3, samples=3, seed=2)
    errors = {(row["map"], row["coupling"], row["features"]): row["error"] for row in rows}
    wanted = []
    for sample in range(3):
        generator = torch.Generator().manual_seed(2000 + sample)
        q, k, v = torch.randn(3, 64, 4, generator=generator, dtype=torch.float64)
        weights = (0.09 * q @ k.mT / 2).softmax(-1)
        wanted.append((v.mean(0) - weights @ v).square().mean())
    assert errors["uniform", "", 0] == pytest.approx(float(torch.stack(wanted).mean()), rel=1e-9)
    for name, coupling, features in errors:
        if features == 512:
            assert errors[name, coupling, 512] < errors[name, coupling, 16]


def test_the_command_writes_figures_with_their_origin(tmp_path, monkeypatch, capsys):
    from protein_performer.experiments import approximation

    few, shallow = approximation.against_features, approximation.against_depth
    monkeypatch.setattr(
        approximation, "against_features", lambda features, **o: few([8, 16], **{**o, "length": 32})
    )
    monkeypatch.setattr(
        approximation, "against_depth", lambda depths, **o: shallow([1, 2], **{**o, "length": 32})
    )
    assert main(["experiment", "approximation", "--quick", "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "approximation.json").read_text())
    assert result["command"] == "protein-performer experiment approximation --seed 0 --quick"
    assert {"commit", "date", "machine", "seconds", "utility", "attention"} <= set(result)
    assert (tmp_path / "approximation.png").stat().st_size > 10_000
    assert "uniform attention" in capsys.readouterr().out
