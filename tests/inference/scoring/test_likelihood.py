"""Scores of proteins, against sums over the logits that the network gives, residue by residue."""

import math

import pytest
import torch
from tiny import RELU, SOFTMAX, tiny_config, write_checkpoint

import protein_performer as pp
from protein_performer.errors import UserError
from protein_performer.inference.scoring.likelihood import Cost, cost, shown_log_odds

SEQUENCES = ["MKTAYIAKQRQISFVKSHFSRQ", "ACDEF", "M", "GHIKLMNPQRSTVWYUX"]


def load(tmp_path, objective, attention=SOFTMAX, task=None):
    config = tiny_config(objective, attention)
    config["objective"]["task"] = {**config["objective"]["task"], **(task or {})}
    write_checkpoint(tmp_path / "a.ckpt", config)
    return pp.load(tmp_path / "a.ckpt", device="cpu")


def masked_log_p(lm, sequence, masked):
    """(L, V) float64 log-probabilities by the network, one row, with some positions masked."""
    codes = lm.alphabet.encode(sequence).tolist()
    row = [lm.alphabet.bos, *codes, lm.alphabet.eos]
    for position in masked:
        row[position + 1] = lm.alphabet.mask
    with torch.no_grad():
        logits = lm.network.double()(torch.tensor([row]))[0, 1:-1]
    lm.network.float()
    return torch.log_softmax(logits, -1), codes


@pytest.mark.parametrize("attention", [SOFTMAX, RELU])
def test_a_causal_models_likelihood_is_the_sum_over_its_logits(tmp_path, attention):
    lm = load(tmp_path, "causal", attention)
    for sequence, score in zip(SEQUENCES, lm.score(SEQUENCES), strict=True):
        log_p = torch.log_softmax(lm.logits(sequence)[0].double(), -1)
        codes = torch.tensor(lm.alphabet.encode(sequence).tolist())
        expected = log_p[torch.arange(len(codes)), codes].sum().item()
        assert score.log_likelihood == pytest.approx(expected, abs=1e-4)
        assert score.residues == len(sequence)
        assert score.correct == (log_p.argmax(-1) == codes).sum()
        assert score.perplexity == pytest.approx(math.exp(-expected / len(sequence)), rel=1e-5)


@pytest.mark.parametrize("attention", [SOFTMAX, RELU])
def test_a_pseudo_likelihood_masks_each_residue_in_turn(tmp_path, attention):
    lm = load(tmp_path, "mlm", attention)
    for sequence, score in zip(SEQUENCES, lm.score(SEQUENCES), strict=True):
        expected, correct = 0.0, 0
        for position in range(len(sequence)):
            log_p, codes = masked_log_p(lm, sequence, [position])
            expected += log_p[position, codes[position]].item()
            correct += int(log_p[position].argmax()) == codes[position]
        assert score.log_likelihood == pytest.approx(expected, abs=1e-4)
        assert score.correct == correct


def test_one_pass_takes_back_what_is_learnt_from_seeing_the_residue(tmp_path):
    """By Bayes' rule, residue by residue, on the probabilities of the unmasked row."""
    lm = load(tmp_path, "mlm")
    kept, at_random = 0.1, 0.1 / 20
    for sequence in SEQUENCES:
        rare = [i for i, letter in enumerate(sequence) if letter in lm.alphabet.rare]
        log_p, codes = masked_log_p(lm, sequence, rare)
        expected = 0.0
        for position, code in enumerate(codes):
            seen = log_p[position].exp()
            if position not in rare:
                weights = torch.full_like(seen, 1 / at_random)
                weights[code] = 1 / (kept + at_random)  # how likely it is shown when it is true
                seen = seen * weights / (seen * weights).sum()
            expected += seen[code].log().item()
        (score,) = lm.score(sequence, "one-pass")
        assert score.log_likelihood == pytest.approx(expected, abs=1e-4)


def test_one_pass_is_exact_for_an_ideal_model():
    """In the game itself: the posterior after what is shown, taken back, is the prior."""
    prior = torch.distributions.Dirichlet(torch.ones(20)).sample().double()
    kept, at_random = 0.1, 0.1 / 20
    for shown in range(20):
        likelihood = torch.full((20,), at_random, dtype=torch.float64)
        likelihood[shown] += kept
        logits = (prior * likelihood).log()
        logits[shown] -= math.log((kept + at_random) / at_random)
        torch.testing.assert_close(logits.softmax(0), prior, rtol=1e-6, atol=1e-9)


def test_the_shares_of_training_say_what_seeing_a_residue_is_worth(tmp_path):
    assert shown_log_odds(load(tmp_path, "mlm")) == pytest.approx(math.log(21))
    of_authors = load(tmp_path, "mlm", task={"mask": 0.1, "random": 0.8})
    assert shown_log_odds(of_authors) == pytest.approx(math.log((0.1 + 0.04) / 0.04))
    never = load(tmp_path, "mlm", task={"mask": 1.0, "random": 0.0})
    with pytest.raises(UserError, match="Score with the method 'pseudo'"):
        never.score("MKT", "one-pass")


def test_methods_that_the_model_does_not_have_are_refused(tmp_path):
    with pytest.raises(UserError, match="this one was trained on mlm"):
        load(tmp_path, "mlm").score("MKT", "exact")
    for method in ("pseudo", "one-pass"):
        with pytest.raises(UserError, match="this one was trained on causal"):
            load(tmp_path, "causal").score("MKT", method)
    with pytest.raises(UserError, match="expected one of exact, pseudo, one-pass"):
        load(tmp_path, "mlm").score("MKT", "guess")


@pytest.mark.parametrize(
    ("objective", "method"), [("causal", "exact"), ("mlm", "pseudo"), ("mlm", "one-pass")]
)
def test_scores_depend_neither_on_batches_nor_on_order(tmp_path, objective, method):
    lm = load(tmp_path, objective, RELU)
    together = lm.score(SEQUENCES, method)
    lm.batch_tokens = 1
    alone = lm.score(SEQUENCES[::-1], method)[::-1]
    for one, other in zip(together, alone, strict=True):
        assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-4)
        assert one[::2] == other[::2]


def test_the_cost_is_known_before(tmp_path):
    assert cost([3, 10], "pseudo") == Cost(13, 3 * 5 + 10 * 12)
    assert cost([3, 10], "one-pass") == cost([3, 10], "exact") == Cost(2, 17)
    assert load(tmp_path, "mlm").score([]) == []
