import math

import pytest
import torch
from tiny import RELU, SOFTMAX, tiny_config, write_checkpoint

import protein_performer as pp
from protein_performer.errors import UserError
from protein_performer.inference import encoded_proteins
from protein_performer.inference.evaluate import evaluate_source, report_lines

SEQUENCES = {"a": "MKTAYIAKQRQISFVKSHFSRQ", "b": "ACDEF", "c": "M", "d": "GHIKLMNPQRSTVWY" * 5}


@pytest.fixture
def fasta(tmp_path):
    path = tmp_path / "proteins.fasta"
    path.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in SEQUENCES.items()))
    return str(path)


def load(tmp_path, objective, attention=SOFTMAX, **options):
    write_checkpoint(tmp_path / "a.ckpt", tiny_config(objective, attention), **options)
    return pp.load(tmp_path / "a.ckpt", device="cpu")


def test_a_causal_models_perplexity_is_that_of_its_logits(tmp_path, fasta):
    lm = load(tmp_path, "causal")
    figures, counts = evaluate_source(lm, fasta)
    nll = 0.0
    for sequence in SEQUENCES.values():
        log_p = torch.log_softmax(lm.logits([sequence])[0].double(), -1)
        codes = torch.from_numpy(lm.alphabet.encode(sequence).astype(int))
        nll -= log_p[torch.arange(len(codes)), codes].sum().item()
    residues = sum(map(len, SEQUENCES.values()))
    assert figures["residues"] == residues
    assert figures["perplexity"] == pytest.approx(math.exp(nll / residues), rel=1e-5)
    assert (counts.proteins, counts.cut) == (4, 0)
    # The fixture's training set has the 20 standard residues equally often, the rare ones never.
    frequency = 11 / (20 * 11 + 6)
    assert figures["empirical_perplexity"] == pytest.approx(1 / frequency)


@pytest.mark.parametrize("objective", ["mlm", "causal"])
@pytest.mark.parametrize("attention", [SOFTMAX, RELU])
def test_figures_do_not_depend_on_batching(tmp_path, fasta, monkeypatch, objective, attention):
    lm = load(tmp_path, objective, attention)
    together, _ = evaluate_source(lm, fasta)
    lm.batch_tokens = 1
    monkeypatch.setattr(encoded_proteins, "CHUNK_RECORDS", 3)
    alone, _ = evaluate_source(lm, fasta)
    assert alone == pytest.approx(together, rel=1e-5)
    assert together["residues"] >= 4


def test_long_proteins_are_cut_and_counted(tmp_path, fasta):
    lm = load(tmp_path, "causal")
    figures, counts = evaluate_source(lm, fasta, max_length=20)
    assert figures["residues"] == 20 + 5 + 1 + 20
    assert (counts.cut, counts.cut_residues) == (2, 2 + 55)
    assert any("2 proteins cut, 57 residues" in line for line in report_lines(figures, counts))


def test_what_is_replaced_or_left_out_is_told(tmp_path):
    path = tmp_path / "odd.fasta"
    path.write_text(">a\nMK*LV\n>b\n**\n>c\n\n>d\nACDEF\n")
    for policy, expected in (("unknown", "3 characters"), ("skip", "3 characters")):
        figures, counts = evaluate_source(load(tmp_path, "causal", policy=policy), str(path))
        told = "\n".join(report_lines(figures, counts))
        assert expected in told
        assert "without a sequence" in told
    assert counts.proteins == 2


def test_a_source_without_proteins_is_an_error(tmp_path):
    (tmp_path / "stars.fasta").write_text(">a\n**\n")
    with pytest.raises(UserError, match="found none"):
        evaluate_source(load(tmp_path, "mlm", policy="skip"), str(tmp_path / "stars.fasta"))
