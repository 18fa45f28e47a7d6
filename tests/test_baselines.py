"""The empirical baseline against counting by hand."""

import math

import pytest
import torch

from protein_performer.alphabet import Alphabet
from protein_performer.baselines import EmpiricalBaseline
from protein_performer.errors import UserError

PROTEIN = Alphabet()


def counts(sequence, **specials):
    tally = torch.bincount(torch.tensor(PROTEIN.encode(sequence)).long(), minlength=len(PROTEIN))
    for name, count in specials.items():
        tally[getattr(PROTEIN, name)] = count
    return tally


def test_scores_are_those_of_smoothed_frequencies():
    baseline = EmpiricalBaseline(counts("AAAAC"))
    nll, correct, targets = baseline.sums(counts("AACD"))
    a, c, d = 5 / 31, 2 / 31, 1 / 31  # one more of each of the 26 letters
    assert nll == pytest.approx(-2 * math.log(a) - math.log(c) - math.log(d), rel=1e-12)
    assert (correct, targets) == (2, 4)
    scores = baseline.score(counts("AACD"))
    assert scores["accuracy"] == 0.5
    assert scores["perplexity"] == pytest.approx((a * a * c * d) ** -0.25, rel=1e-12)


def test_special_tokens_and_padding_count_nowhere():
    plain = EmpiricalBaseline(counts("ACCD")).score(counts("CD"))
    special = EmpiricalBaseline(counts("ACCD", pad=999, eos=9)).score(counts("CD", eos=5, mask=3))
    assert special == plain


def test_the_probabilities_of_all_residues_add_up():
    probabilities = EmpiricalBaseline(counts("MKTAYIAKQR")).log_probabilities.exp()
    assert probabilities.sum().item() == pytest.approx(1, abs=1e-12)
    assert probabilities[: PROTEIN.first_letter].tolist() == [0.0] * 4


def test_parts_add_up_to_the_whole():
    baseline = EmpiricalBaseline(counts("MKTAYIAKQR"))
    parts = [baseline.sums(counts(part)) for part in ("MKT", "AYIA")]
    whole = baseline.sums(counts("MKTAYIA"))
    assert [sum(pair) for pair in zip(*parts, strict=True)] == pytest.approx(list(whole))


def test_no_targets_score_nothing_and_no_training_residues_are_refused():
    assert math.isnan(EmpiricalBaseline(counts("A")).score(counts(""))["perplexity"])
    with pytest.raises(UserError, match="no residues"):
        EmpiricalBaseline(counts("", eos=3))
