import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from protein_performer.alphabet import Alphabet
from protein_performer.ngram import NGrams, longest_order

ALPHABET = Alphabet()
LETTERS = len(ALPHABET.letters)
TRAINING = ["MKTAYIAKQRQISFVKSHFSRQ", "MKTAYMKT", "ACDEF", "M"]


def trained(proteins=TRAINING, order=3):
    ngrams = NGrams(LETTERS, ALPHABET.first_letter, order)
    ngrams.add(ALPHABET.encode(each) for each in proteins)
    return ngrams


def oracle(history, letter, proteins=TRAINING):
    """Witten-Bell by its definition: dictionaries of strings, one order inside the other."""
    if history is None:
        return 1 / LETTERS
    seen = defaultdict(Counter)
    for protein in proteins:
        padded = "^" * len(history) + protein
        for end in range(len(history), len(padded)):
            seen[padded[end - len(history) : end]][padded[end]] += 1
    lower = oracle(history[1:] if history else None, letter, proteins)
    after = seen[history]
    if not after:
        return lower
    return (after[letter] + len(after) * lower) / (after.total() + len(after))


@pytest.mark.parametrize("sequence", ["MKTAY", "KTW", "WWWW", "SRQ"])
def test_probabilities_are_witten_bells(sequence):
    ngrams = trained()
    tokens = np.concatenate([[ALPHABET.bos], ALPHABET.encode(sequence), [ALPHABET.eos]])
    found = ngrams.probabilities(ngrams.histories(tokens[None])[0])[:, 1:-1]
    padded = "^^" + sequence
    for position, letter in enumerate(sequence):
        for order in (1, 2, 3):
            history = padded[position + 3 - order : position + 2]
            expected = oracle(history, letter)
            column = ALPHABET.letters.index(letter)
            assert found[order - 1, position, column] == pytest.approx(expected, rel=1e-12)


def test_by_hand():
    """After M there were K, K and K again (of MKT twice) and the ends, which do not count."""
    ngrams = trained(["MK", "MK", "MT"], order=2)
    of_m = ngrams.probabilities(ngrams.histories(ALPHABET.encode("MA")[None])[0, 1:])
    # Order 1: M 3, K 2, T 1 of 6, three letters seen; uniform 1/26 below.
    k1 = (2 + 3 / 26) / (6 + 3)
    # Order 2: after M there were K twice and T once.
    assert of_m[0, 0, ALPHABET.letters.index("K")] == pytest.approx(k1)
    assert of_m[1, 0, ALPHABET.letters.index("K")] == pytest.approx((2 + 2 * k1) / (3 + 2))


def test_probabilities_sum_to_one_after_any_history():
    ngrams = trained(order=4)
    histories = np.random.default_rng(0).integers(0, LETTERS + 1, (200, 3))
    found = ngrams.probabilities(histories)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-12)
    assert (found > 0).all()


def test_no_history_reaches_over_a_special_token():
    ngrams = trained(order=3)
    m, k, t = ALPHABET.encode("MKT")
    row = np.array([[ALPHABET.bos, m, k, ALPHABET.eos, ALPHABET.bos, t, ALPHABET.pad]])
    boundary = LETTERS
    np.testing.assert_array_equal(
        ngrams.histories(row)[0],
        [
            [boundary, boundary],
            [boundary, boundary],
            [boundary, m - ALPHABET.first_letter],
            [m - ALPHABET.first_letter, k - ALPHABET.first_letter],
            [boundary, boundary],
            [boundary, boundary],
            [boundary, t - ALPHABET.first_letter],
        ],
    )


def test_counts_add_up_over_calls_and_long_inputs(monkeypatch):
    monkeypatch.setattr("protein_performer.ngram._RESIDUES_AT_ONCE", 10)
    apart = NGrams(LETTERS, ALPHABET.first_letter, 3)
    histories = np.random.default_rng(0).integers(0, LETTERS + 1, (50, 2))
    for protein in TRAINING:
        apart.add([ALPHABET.encode(protein)])
        apart.probabilities(histories)  # later counts must not meet what this one kept
    assert apart.residues == sum(map(len, TRAINING))
    np.testing.assert_array_equal(
        apart.probabilities(histories), trained().probabilities(histories)
    )


def test_the_table_stays_small():
    assert longest_order(26) == 5
    assert longest_order(243) == 3
    assert math.isclose(NGrams(243, 4).probabilities(np.zeros((1, 2), int)).sum(), 3)
