"""Buckets and batches: the budget, the padding, every protein once, any batch alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protein_performer.data.batch_report import padding_share
from protein_performer.data.batches.order import SPECIALS, BatchOrder, make_buckets
from protein_performer.errors import UserError

lengths_of_proteins = st.lists(st.integers(1, 300), min_size=1, max_size=400)


def counts_of(lengths):
    return np.bincount(lengths)


@settings(max_examples=60)
@given(lengths_of_proteins, st.integers(0, 2), st.sampled_from([100, 302, 1000, 5000]))
def test_an_epoch_holds_each_protein_once_within_the_budget(lengths, epoch, max_length):
    budget = 400
    buckets = make_buckets(
        counts_of(lengths), max_length=max_length, batch_tokens=budget, ratio=1.1
    )
    order = BatchOrder(buckets, seed=4)
    batches = order.places(epoch, np.arange(len(order)))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    by_length = np.minimum(np.sort(lengths), max_length)
    for places in batches:
        assert len(places) >= max(order.smallest, 1)
        assert len(places) * (by_length[places].max() + SPECIALS) <= budget


def test_batches_are_computed_alone_and_differ_by_epoch_and_seed():
    buckets = make_buckets(
        counts_of(np.arange(1, 500)), max_length=512, batch_tokens=2048, ratio=1.1
    )
    order = BatchOrder(buckets, seed=0)
    together = order.places(3, np.arange(len(order)))
    for batch in (0, 7, len(order) - 1):
        alone = order.places(3, np.array([batch]))[0]
        assert np.array_equal(alone, together[batch])
    assert not np.array_equal(order.places(4, np.array([0]))[0], together[0])
    assert not np.array_equal(BatchOrder(buckets, 1).places(3, np.array([0]))[0], together[0])


def test_without_a_seed_the_longest_come_first_in_every_epoch():
    buckets = make_buckets(counts_of([3] * 9 + [90] * 9), max_length=99, batch_tokens=99, ratio=1.1)
    order = BatchOrder(buckets, seed=None)
    first, second = (np.concatenate(order.places(e, np.arange(len(order)))) for e in (0, 1))
    assert np.array_equal(first, second)
    assert set(first[:9]) == set(range(9, 18))


def test_padding_is_little_and_bounded_by_the_buckets():
    lengths = np.sort(np.random.default_rng(0).lognormal(5.7, 0.6, 20_000).astype(int).clip(5))
    buckets = make_buckets(counts_of(lengths), max_length=1024, batch_tokens=16384, ratio=1.08)
    order = BatchOrder(buckets, seed=0)
    cropped = np.minimum(lengths, 1024) + SPECIALS
    batches = order.places(0, np.arange(len(order)))
    places = sum(len(batch) * cropped[batch].max() for batch in batches)
    padding = 1 - cropped.sum() / places
    assert padding < 0.05
    assert padding <= padding_share(counts_of(lengths), order) < 0.06


def test_batches_of_a_bucket_differ_by_one_protein_at_most():
    buckets = make_buckets(counts_of([50] * 101), max_length=50, batch_tokens=520, ratio=1.1)
    sizes = [len(batch) for batch in BatchOrder(buckets, 0).places(0, np.arange(11))]
    assert sorted(sizes) == [9] * 9 + [10] * 2
    assert BatchOrder(buckets, 0).smallest == 9


def test_a_budget_below_one_protein_is_refused():
    with pytest.raises(UserError, match=r"at least 102 tokens.*got 101"):
        make_buckets(counts_of([7, 100]), max_length=512, batch_tokens=101, ratio=1.1)
    assert make_buckets(counts_of([7, 100]), max_length=99, batch_tokens=101, ratio=1.1)


def test_no_protein_is_refused():
    with pytest.raises(UserError, match="at least one protein"):
        make_buckets(np.zeros(1, np.int64), max_length=512, batch_tokens=999, ratio=1.1)


def test_two_hundred_million_proteins_cost_no_list():
    lengths = np.random.default_rng(0).lognormal(5.7, 0.6, 100_000).astype(int).clip(5)
    buckets = make_buckets(
        counts_of(lengths) * 2_000, max_length=1024, batch_tokens=16384, ratio=1.08
    )
    order = BatchOrder(buckets, seed=0)
    batches = order.places(0, np.array([0, len(order) // 2, len(order) - 1]))
    assert 4e6 < len(order) < 6e6
    assert all(batch.min() >= 0 and batch.max() < 200_000_000 for batch in batches)
