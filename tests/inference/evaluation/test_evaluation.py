import math

import numpy as np
import pytest
import torch
from tiny import RELU, SOFTMAX, tiny_config, write_checkpoint

import protein_performer as pp
from protein_performer.alphabet import Alphabet
from protein_performer.baselines import EmpiricalBaseline
from protein_performer.batch import IGNORE, Batch
from protein_performer.cli import main
from protein_performer.data.manifest import read_manifest
from protein_performer.errors import UserError
from protein_performer.inference import encoded_proteins
from protein_performer.inference.evaluation import training_ngrams
from protein_performer.inference.evaluation.evaluation import evaluate_source, report_lines
from protein_performer.inference.evaluation.evaluation_sums import EvaluationSums
from protein_performer.inference.evaluation.training_ngrams import (
    count_training_set,
    log_probabilities,
)

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
    sums, counts = evaluate_source(lm, fasta)
    figures = sums.figures()
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
    together = evaluate_source(lm, fasta)[0].figures()
    lm.batch_tokens = 1
    monkeypatch.setattr(encoded_proteins, "CHUNK_RECORDS", 3)
    alone = evaluate_source(lm, fasta)[0].figures()
    per_residue = [figures.pop("per_residue") for figures in (together, alone)]
    assert alone == pytest.approx(together, rel=1e-4)
    assert alone["residues"] == together["residues"]
    for one, other in zip(*(each.values() for each in per_residue), strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    assert together["residues"] >= 4


def test_long_proteins_are_cut_and_counted(tmp_path, fasta):
    lm = load(tmp_path, "causal")
    sums, counts = evaluate_source(lm, fasta, max_length=20)
    figures = sums.figures()
    assert figures["residues"] == 20 + 5 + 1 + 20
    assert (counts.cut, counts.cut_residues) == (2, 2 + 55)
    assert any("2 proteins cut, 57 residues" in line for line in report_lines(figures, counts))


def test_what_is_replaced_or_left_out_is_told(tmp_path):
    path = tmp_path / "odd.fasta"
    path.write_text(">a\nMK*LV\n>b\n**\n>c\n\n>d\nACDEF\n")
    for policy, expected in (("unknown", "3 characters"), ("skip", "3 characters")):
        sums, counts = evaluate_source(load(tmp_path, "causal", policy=policy), str(path))
        told = "\n".join(report_lines(sums.figures(), counts))
        assert expected in told
        assert "without a sequence" in told
    assert counts.proteins == 2


def test_a_source_without_proteins_is_an_error(tmp_path):
    (tmp_path / "stars.fasta").write_text(">a\n**\n")
    with pytest.raises(UserError, match="found none"):
        evaluate_source(load(tmp_path, "mlm", policy="skip"), str(tmp_path / "stars.fasta"))


def with_training_set(tmp_path, objective):
    training = tmp_path / "training.fasta"
    training.write_text(">t\nMKTAYIAKQRQISF\n>u\nMKTAY\n>v\nACDEFGHIKLMNPQRSTVWY\n")
    return load(tmp_path, objective), count_training_set(str(training), Alphabet())


def test_n_grams_are_asked_for_every_residue_with_the_residues_before_it(tmp_path, fasta):
    """Of a causal model every residue is a target: the sum over whole proteins."""
    lm, ngrams = with_training_set(tmp_path, "causal")
    figures = evaluate_source(lm, fasta, ngrams=ngrams)[0].figures()
    nll, correct = np.zeros(5), np.zeros(5)
    for sequence in SEQUENCES.values():
        codes = lm.alphabet.encode(sequence)
        letters = codes - lm.alphabet.first_letter
        p = ngrams.probabilities(ngrams.histories(codes[None])[0])
        nll -= np.log(p[:, np.arange(len(codes)), letters]).sum(1)
        correct += (p.argmax(-1) == letters).sum(1)
    residues = sum(map(len, SEQUENCES.values()))
    np.testing.assert_allclose(figures["ngram_perplexity"], np.exp(nll / residues), rtol=1e-9)
    np.testing.assert_allclose(figures["ngram_accuracy"], correct / residues)
    best = figures["ngram_order"]
    assert figures["ngram_perplexity"][best - 1] == min(figures["ngram_perplexity"])
    ratio = figures["perplexity"] / min(figures["ngram_perplexity"])
    assert figures["perplexity_of_ngram"] == pytest.approx(ratio, rel=1e-5)
    told = "\n".join(report_lines(figures, evaluate_source(lm, fasta)[1]))
    assert f"of order {best}'s" in told


@pytest.mark.parametrize("next_token", [False, True])
def test_n_grams_see_true_residues_where_the_model_sees_masks(tmp_path, next_token):
    _, ngrams = with_training_set(tmp_path, "mlm")
    codes = Alphabet().encode("MKTAY")
    tokens = np.array([[Alphabet.bos, *codes, Alphabet.eos]])
    if next_token:
        inputs, targets, scored = tokens[:, :-1], tokens[:, 1:], range(1, 6)
    else:
        inputs, targets = tokens.copy(), np.full_like(tokens, IGNORE)
        scored = [2, 3, 5]
        inputs[0, scored] = Alphabet.mask
        targets[0, scored] = tokens[0, scored]
    mask = np.ones_like(inputs, dtype=bool)
    batch = Batch(*map(torch.from_numpy, (inputs, targets, mask, np.zeros(1))))
    found = log_probabilities(ngrams, batch, next_token=next_token)
    expected = np.log(ngrams.probabilities(ngrams.histories(tokens)[0, list(scored)]))
    np.testing.assert_array_equal(found, expected)


def test_the_table_by_residue_adds_up(tmp_path, fasta):
    figures = evaluate_source(load(tmp_path, "causal"), fasta)[0].figures()
    table = figures["per_residue"].values()
    assert sum(each["targets"] for each in table) == figures["residues"]
    right = sum(each["targets"] * each["accuracy"] for each in table)
    assert right == pytest.approx(figures["residues"] * figures["accuracy"])
    nll = sum(each["targets"] * math.log(each["perplexity"]) for each in table)
    assert nll == pytest.approx(figures["residues"] * figures["loss"], rel=1e-6)


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy():
    """By hand: 4 residues at confidence 0.905, 3 of them right; 1 at 0.505, right."""
    sums = EvaluationSums(Alphabet(), EmpiricalBaseline(torch.ones(30)), None, next_token=False)
    first, other = Alphabet.first_letter, Alphabet.first_letter + 1
    logits = torch.full((5, 30), -100.0)
    for row, confidence in enumerate([0.905] * 4 + [0.505]):
        logits[row, first] = math.log(confidence)
        logits[row, other] = math.log(1 - confidence)
    targets = torch.tensor([[first, first, first, other, first]])
    batch = Batch(targets, targets, torch.ones_like(targets, dtype=torch.bool), torch.zeros(1))
    sums.update(logits, batch)
    expected = (4 * abs(0.75 - 0.905) + abs(1 - 0.505)) / 5
    assert sums.calibration_error() == pytest.approx(expected, rel=1e-5)


def test_intervals_are_over_proteins_and_sums_add_up(tmp_path, fasta):
    lm = load(tmp_path, "causal")
    once, _ = evaluate_source(lm, fasta)
    twice = (once + once).figures()
    figures = once.figures()
    assert twice["proteins"] == 2 * figures["proteins"]
    assert twice["perplexity"] == pytest.approx(figures["perplexity"])
    for name in ("perplexity", "accuracy", "perplexity_of_empirical"):
        assert figures[f"{name}_low"] <= figures[name] <= figures[f"{name}_high"]
    # Resamples of four proteins are often one and the same protein: of eight, seldom.
    widths = [f["perplexity_high"] - f["perplexity_low"] for f in (figures, twice)]
    assert widths[1] < widths[0]


def test_a_prepared_folder_gives_its_training_split(tmp_path):
    source = tmp_path / "source.fasta"
    source.write_text("".join(f">p{i}\nMKTAY{'ACDEF'[i % 5]}{i % 7 * 'W'}\n" for i in range(60)))
    assert main(["prepare", str(source), str(tmp_path / "p"), "--split-test", "0.3"]) == 0
    ngrams = count_training_set(str(tmp_path / "p"), Alphabet())
    manifest = read_manifest(tmp_path / "p")
    assert ngrams.residues == sum(manifest["splits"]["train"]["residue_counts"])
    assert 0 < ngrams.residues < count_training_set(str(source), Alphabet()).residues


def test_a_very_large_training_set_is_counted_in_part(tmp_path, monkeypatch):
    monkeypatch.setattr(training_ngrams, "MOST_RESIDUES", 10)
    (tmp_path / "a.fasta").write_text(">a\nMKTAYIA\n>b\nACDEF\n>c\nW\n")
    assert count_training_set(str(tmp_path / "a.fasta"), Alphabet()).residues == 12
