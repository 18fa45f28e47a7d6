"""`protein-performer score`, as a person types it."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from tiny import RELU, tiny_config, write_checkpoint

import protein_performer as pp
from protein_performer import cli
from protein_performer.inference.scoring.ranking import Ranks, spearman

WILD_TYPE = "MKTAYIAKQRQISFVKSHFSRQ"
FASTA = f">a/../b one\n{WILD_TYPE}\n>c\nacdefu\n>c\nM\n>empty\n\n"


@pytest.fixture(params=["mlm", "causal"])
def objective(request):
    return request.param


@pytest.fixture
def checkpoint(tmp_path, objective):
    write_checkpoint(tmp_path / "a.ckpt", tiny_config(objective, RELU))
    return str(tmp_path / "a.ckpt")


@pytest.fixture
def fasta(tmp_path):
    (tmp_path / "proteins.fasta").write_text(FASTA)
    (tmp_path / "wild_type.fasta").write_text(f">w\n{WILD_TYPE}\n")
    return str(tmp_path / "proteins.fasta")


def rows_of(path: Path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_a_record_in_order(tmp_path, checkpoint, fasta, objective, capsys):
    out, figures = tmp_path / "scores.csv", tmp_path / "figures.json"
    assert cli.main(["score", checkpoint, fasta, str(out), "--json", str(figures)]) == 0
    kind = "" if objective == "causal" else "pseudo_"
    rows = rows_of(out)
    expected = pp.load(checkpoint, device="cpu").score([WILD_TYPE, "ACDEFU", "M"])
    assert [row["accession"] for row in rows] == ["a/../b", "c", "c"]
    for row, score in zip(rows, expected, strict=True):
        assert int(row["residues"]) == score.residues
        found = float(row[f"{kind}log_likelihood"])
        assert found == pytest.approx(score.log_likelihood, abs=1e-4)
        assert float(row[f"{kind}perplexity"]) == pytest.approx(score.perplexity, rel=1e-4)
        assert float(row["accuracy"]) == score.accuracy
    total = json.loads(figures.read_text())
    assert (total["proteins"], total["residues"], total["failed"]) == (3, 29, [])
    mean = sum(each.log_likelihood for each in expected) / 29
    assert total[f"{kind}perplexity"] == pytest.approx(math.exp(-mean), rel=1e-5)
    told = capsys.readouterr()
    assert "without a sequence" in told.err
    if objective == "mlm":  # said before the work
        assert "29 passes" in told.err
        assert "one-pass approximates it in 3" in told.err


@pytest.mark.parametrize("objective", ["mlm"], indirect=True)
def test_an_approximation_is_named_as_such(tmp_path, checkpoint, fasta):
    out = tmp_path / "scores.parquet"
    assert cli.main(["score", checkpoint, fasta, str(out), "--method", "one-pass"]) == 0
    table = pyarrow.parquet.read_table(out)
    assert table.column_names[2:4] == [
        "one_pass_pseudo_log_likelihood",
        "one_pass_pseudo_perplexity",
    ]
    assert table.num_rows == 3


def test_variants_beside_their_measurements(tmp_path, checkpoint, fasta, capsys):
    generator = np.random.default_rng(0)
    mutants = [f"{letter}{i + 1}W" for i, letter in enumerate(WILD_TYPE)] + ["M1A:K2R", "WT"]
    measured = generator.normal(size=len(mutants))
    lines = [f"{m},{y}" for m, y in zip(mutants, measured, strict=True)] + ["M1C,"]
    (tmp_path / "DMS.csv").write_text("mutant,DMS_score\n" + "\n".join(lines) + "\n")
    out, figures = tmp_path / "variants.csv", tmp_path / "figures.json"
    command = ["score", checkpoint, str(tmp_path / "wild_type.fasta"), str(out)]
    command += ["--variants", str(tmp_path / "DMS.csv"), "--json", str(figures)]
    assert cli.main(command) == 0
    rows = rows_of(out)
    scores = pp.load(checkpoint, device="cpu").variants(WILD_TYPE, [*mutants, "M1C"])
    assert [row["mutant"] for row in rows] == [*mutants, "M1C"]
    assert [int(row["mutations"]) for row in rows[-3:]] == [2, 0, 1]
    np.testing.assert_allclose([float(row["score"]) for row in rows], scores, atol=2e-5)
    assert float(rows[0]["DMS_score"]) == measured[0]
    found = json.loads(figures.read_text())
    assert found["measured"] == len(mutants)
    assert found["fit"] == "median"
    expected = spearman(Ranks.of(scores[:-1]), Ranks.of(measured))
    assert found["spearman"] == pytest.approx(expected, abs=0.01)
    assert found["spearman_low"] < found["spearman"] < found["spearman_high"]
    told = capsys.readouterr()
    assert f"{len(mutants)} measured: Spearman {found['spearman']:.3f} (95 %:" in told.out
    assert "25 variants:" in told.err  # and what they cost


@pytest.mark.parametrize("objective", ["mlm"], indirect=True)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["proteins.fasta", "s.csv", "--variants", "DMS.csv"], "expected one record"),
        (["wild_type.fasta", "s.csv", "--variants", "DMS.csv"], "line 2: A1C: residue 1 of the"),
        (["wild_type.fasta", "s.csv", "--variants", "none.csv"], "none.csv"),
        (["wild_type.fasta", "s.txt"], "expected a name that ends in .csv"),
        (["wild_type.fasta", "DMS.csv"], "the file exists"),
        (["wild_type.fasta", "s.csv", "--method", "exact"], "trained on mlm"),
        (["wild_type.fasta", "s.csv", "--measured", "DMS_score"], "--measured"),
        (["stars.fasta", "s.csv", "--residue-policy", "error"], "stars.fasta"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path, checkpoint, fasta, arguments, message, capsys):
    (tmp_path / "DMS.csv").write_text("mutant\nA1C\n")
    (tmp_path / "stars.fasta").write_text(">s\nMK*\n")
    paths = [
        argument if argument.startswith("-") or "." not in argument else str(tmp_path / argument)
        for argument in arguments
    ]
    before = sorted(tmp_path.iterdir())
    assert cli.main(["score", checkpoint, *paths]) == 1
    told = capsys.readouterr().err.strip().splitlines()
    assert told[-1].startswith("error: ")
    assert message in told[-1]
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("objective", ["causal"], indirect=True)
def test_what_does_not_fit_into_memory_is_listed(tmp_path, checkpoint, fasta, capsys, monkeypatch):
    from protein_performer.model.transformer import ProteinTransformer

    real = ProteinTransformer.scored_logits

    def small(self, batch):
        if batch.inputs.shape[1] > 10:
            raise MemoryError
        return real(self, batch)

    monkeypatch.setattr(ProteinTransformer, "scored_logits", small)
    out = tmp_path / "scores.csv"
    assert cli.main(["score", checkpoint, fasta, str(out)]) == 1
    assert [row["log_likelihood"] == "nan" for row in rows_of(out)] == [True, False, False]
    assert "error: a/../b: does not fit into memory" in capsys.readouterr().err
