"""What is selected, shown and asked."""

import numpy as np
import pytest

from protein_performer.alphabet import Alphabet
from protein_performer.batch import IGNORE
from protein_performer.data.batches.proteins import lay_out
from protein_performer.data.objectives import MaskedResidues, NextToken, Windows, check_trunk
from protein_performer.data.randomness import hash64
from protein_performer.errors import UserError

PROTEIN = Alphabet()


def windows(*proteins, seed=0, evaluating=False, max_length=10_000, starts=None):
    residues = [PROTEIN.encode(each) for each in proteins]
    starts = np.zeros(len(residues), np.int64) if starts is None else np.array(starts)
    keys = hash64(seed, np.arange(len(residues)))
    return Windows(lay_out(residues, starts, max_length), keys, evaluating)


def share(mask, of):
    """Observed share, and four standard errors of a share of one half."""
    return mask.sum() / of.sum(), 2 / np.sqrt(of.sum())


def many(count=400, length=500):
    lots = np.random.default_rng(1)
    return ["".join(lots.choice(list(PROTEIN.standard), length)) for _ in range(count)]


@pytest.mark.parametrize(("mask", "random"), [(0.8, 0.1), (0.1, 0.8), (1.0, 0.0), (0.0, 0.0)])
def test_shares_of_selected_masked_random_and_kept(mask, random):
    given = windows(*many())
    inputs, targets = MaskedResidues(0.15, mask, random)(given, PROTEIN)
    residue = given.tokens >= PROTEIN.first_letter
    selected = targets != IGNORE
    assert np.array_equal(targets[selected], given.tokens[selected])
    assert np.array_equal(inputs[~selected], given.tokens[~selected])
    assert not selected[~residue].any()
    observed, error = share(selected, residue)
    assert observed == pytest.approx(0.15, abs=error)
    observed, error = share(selected & (inputs == PROTEIN.mask), selected)
    assert observed == pytest.approx(mask, abs=error * (0 < mask < 1))
    changed = selected & (inputs != given.tokens) & (inputs != PROTEIN.mask)
    observed, error = share(changed, selected)
    assert observed == pytest.approx(random * 19 / 20, abs=error * (random > 0))


def test_random_replacements_are_uniform_over_the_standard_residues():
    given = windows(*["X" * 500] * 200)
    inputs, targets = MaskedResidues(1.0, 0.0, 1.0)(given, PROTEIN)
    counts = np.bincount(inputs[targets != IGNORE], minlength=len(PROTEIN))
    standard = list(PROTEIN.standard_codes)
    assert counts[standard].sum() == counts.sum() == 100_000
    chi2 = ((counts[standard] - 5_000) ** 2 / 5_000).sum()
    assert chi2 < 43.8  # 19 degrees of freedom, probability of more: 0.001


def test_masks_do_not_depend_on_batch_mates_or_padding():
    proteins = ["MKTAYIAKQR" * 3, "ACDEF", "GGGGWWWW" * 20]
    mlm = MaskedResidues(0.3)
    together = windows(*proteins)
    inputs, targets = mlm(together, PROTEIN)
    for row, protein in enumerate(proteins):
        alone = windows(protein)._replace(keys=together.keys[row : row + 1])
        one_input, one_target = mlm(alone, PROTEIN)
        width = one_input.shape[1]
        assert np.array_equal(inputs[row, :width], one_input[0])
        assert np.array_equal(targets[row, :width], one_target[0])
        assert (targets[row, width:] == IGNORE).all()


def test_masks_differ_by_key():
    _, one = MaskedResidues()(windows(*many(3), seed=1), PROTEIN)
    _, other = MaskedResidues()(windows(*many(3), seed=2), PROTEIN)
    assert not np.array_equal(one, other)


def test_in_evaluation_every_protein_has_a_target():
    short = ["M", "MK", "ACD"] * 100
    mlm = MaskedResidues(0.01)
    _, training = mlm(windows(*short), PROTEIN)
    _, evaluation = mlm(windows(*short, evaluating=True), PROTEIN)
    assert ((training != IGNORE).sum(axis=1) == 0).any()
    assert ((evaluation != IGNORE).sum(axis=1) >= 1).all()
    chosen = (training != IGNORE).any(axis=1)
    assert np.array_equal(training[chosen], evaluation[chosen])
    columns = np.nonzero(evaluation[2::3] != IGNORE)[1]
    assert set(columns.tolist()) == {1, 2, 3}  # not always the first one


def test_evaluation_shows_no_answers_unless_asked_for():
    training, evaluation = windows(*many()), windows(*many(), evaluating=True)
    inputs, targets = MaskedResidues(evaluate_hidden=True)(evaluation, PROTEIN)
    selected = targets != IGNORE
    assert (inputs[selected] == PROTEIN.mask).all()
    assert np.array_equal(inputs[~selected], evaluation.tokens[~selected])
    shown, _ = MaskedResidues(evaluate_hidden=False)(evaluation, PROTEIN)
    assert np.array_equal(shown, MaskedResidues()(training, PROTEIN)[0])


@pytest.mark.parametrize(
    "options", [{"select": 0}, {"select": 1.1}, {"mask": 0.9, "random": 0.2}, {"mask": -0.1}]
)
def test_impossible_shares_are_refused(options):
    with pytest.raises(UserError, match="objective: expected"):
        MaskedResidues(**options)


def test_the_next_token_of_each_row():
    inputs, targets = NextToken()(windows("ACD", "W"), PROTEIN)
    a, c, d, w = PROTEIN.encode("ACDW").tolist()
    bos, eos, pad = PROTEIN.bos, PROTEIN.eos, PROTEIN.pad
    assert inputs.tolist() == [[bos, a, c, d], [bos, w, pad, pad]]
    assert targets.tolist() == [[a, c, d, eos], [w, eos, IGNORE, IGNORE]]


def test_a_window_short_of_the_end_does_not_predict_the_end():
    cut = windows("ACDEF", max_length=3)
    assert PROTEIN.eos not in cut.tokens
    inputs, targets = NextToken()(cut, PROTEIN)
    a, c, d = PROTEIN.encode("ACD").tolist()
    assert inputs.tolist() == [[PROTEIN.bos, a, c, d]]
    assert targets.tolist() == [[a, c, d, IGNORE]]
    last = windows("ACDEF", max_length=3, starts=[2])
    assert NextToken()(last, PROTEIN)[1][0, -1] == PROTEIN.eos


def test_a_next_token_objective_needs_a_model_that_does_not_see_its_answers():
    with pytest.raises(
        UserError, match=r"objective\.causal: .*objective\.task=NextToken, got false"
    ):
        check_trunk(NextToken(), causal=False)
    for objective, causal in ((NextToken(), True), (MaskedResidues(), False)):
        check_trunk(objective, causal)
    check_trunk(MaskedResidues(), causal=True)  # half of what it could see, and no answer
