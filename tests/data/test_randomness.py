"""The hash against published numbers, permutations against their definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protein_performer.data.randomness import (
    hash64,
    permute,
    random_bits,
    random_bits16,
    threshold,
)


def test_random_bits_are_splitmix64():
    # First outputs for seed 1234567, as published with Vigna's splitmix64.c.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert random_bits(np.array([1234567], np.uint64), np.arange(3)).tolist() == expected


@given(size=st.integers(1, 3000), key=st.integers(0, 2**64 - 1))
def test_a_permutation_visits_each_index_once(size, key):
    assert sorted(permute(np.arange(size), size, key).tolist()) == list(range(size))


def test_permutations_of_several_ranges_at_once_equal_each_alone():
    sizes = np.array([1, 2, 7, 64, 65, 1000]).repeat(5)
    index = np.arange(len(sizes)) % sizes
    keys = hash64(3, np.arange(len(sizes)))
    alone = [int(permute(i, n, k)[0]) for i, n, k in zip(index, sizes, keys, strict=True)]
    assert permute(index, sizes, keys).tolist() == alone


def test_a_permutation_of_two_hundred_million_computes_single_images():
    images = permute(np.arange(2_000), 200_000_000, 5)
    assert len(set(images.tolist())) == 2_000
    assert 0 <= images.min() < 1e6 < 199e6 < images.max() < 200_000_000


def test_permuted_places_are_uniform():
    """Where index 0 of 7 goes under 7,000 keys: chi-squared with 6 degrees of freedom."""
    places = permute(0, 7, hash64(0, np.arange(7_000)))
    counts = np.bincount(places, minlength=7)
    chi2 = ((counts - 1_000) ** 2 / 1_000).sum()
    assert chi2 < 22.5  # probability of more: 0.001


@pytest.mark.parametrize("probability", [0.0, 0.15, 0.5, 1.0])
def test_thresholds_and_bits_have_their_probability(probability):
    keys = hash64(9, np.arange(100))
    bits = random_bits(keys[:, None], np.arange(400))
    error = 4 * np.sqrt(probability * (1 - probability) / bits.size) + 1e-9
    assert (bits < threshold(probability)).mean() == pytest.approx(probability, abs=error)
    short = random_bits16(keys, 401)  # no multiple of four
    assert short.shape == (100, 401)
    share = (short < round(probability * 2**16)).mean()
    assert share == pytest.approx(probability, abs=error + 1e-5)


def test_hashes_tell_words_and_their_order_apart():
    seen = {int(hash64(*words)[0]) for words in [(1, 2), (2, 1), (1,), (1, 2, 0), (0, 1, 2)]}
    assert len(seen) == 5
