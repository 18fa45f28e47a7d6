"""Scores of variants, against whole passes over each sequence."""

import numpy as np
import pytest
import torch
from tiny import RELU, SOFTMAX, tiny_config, write_checkpoint

import protein_performer as pp
from protein_performer.errors import UserError
from protein_performer.inference.scoring.mutations import mutate, parse_variant
from protein_performer.inference.scoring.shared_prefix import Group, group_by_prefix, tokens_of
from protein_performer.inference.scoring.variants import variant_cost

WINDOW = {"_target_": "protein_performer.attention.sliding_window.SlidingWindow", "window": 4}
REFORMER = {"_target_": "protein_performer.attention.reformer.reformer.Reformer", "chunk": 4}
WILD_TYPE = "MKTAYIAKQRQISFVKSHFSRQ"
VARIANTS = ["M1A", "K2R:T3A", "T3W", "H18K", "Q22A", "Q22A:M1L", "WT", "A4A", "S17U:F19Y"]


def load(tmp_path, objective, attention=SOFTMAX, **trunk):
    write_checkpoint(tmp_path / "a.ckpt", tiny_config(objective, attention, **trunk))
    return pp.load(tmp_path / "a.ckpt", device="cpu")


def log_p(lm, sequence, masked=()):
    """(L, V) float64 of one row."""
    codes = lm.alphabet.encode(sequence).tolist()
    row = [lm.alphabet.bos, *codes, *([] if lm.network.causal else [lm.alphabet.eos])]
    for position in masked:
        row[position + 1] = lm.alphabet.mask
    with torch.no_grad():
        logits = lm.network(torch.tensor([row]))[0]
    first = 0 if lm.network.causal else 1
    return torch.log_softmax(logits[first : first + len(codes)].double(), -1).numpy()


def of_letter(lm, row, letter):
    return row[lm.alphabet.encode(letter)[0]]


def likelihood(lm, sequence):
    return sum(
        of_letter(lm, row, letter)
        for row, letter in zip(log_p(lm, sequence), sequence, strict=True)
    )


@pytest.mark.parametrize(
    ("attention", "trunk"),
    [
        (SOFTMAX, {}),
        (RELU, {}),
        ({**RELU, "feature_map": "softmax"}, {"convolution": 3}),
        (WINDOW, {"positions": "learned", "max_length": 30}),
        (REFORMER, {}),
        (RELU, {"residual": "reversible"}),
    ],
)
@pytest.mark.parametrize("batch_tokens", [1, 60, 8192])
def test_a_causal_score_is_the_difference_of_whole_passes(tmp_path, attention, trunk, batch_tokens):
    lm = load(tmp_path, "causal", attention, **trunk)
    lm.batch_tokens = batch_tokens
    wild = likelihood(lm, WILD_TYPE)
    expected = [likelihood(lm, mutate(WILD_TYPE, parse_variant(text))) - wild for text in VARIANTS]
    np.testing.assert_allclose(lm.variants(WILD_TYPE, VARIANTS), expected, atol=2e-5)
    assert lm.variants(WILD_TYPE, ["WT", "A4A"]).tolist() == [0, 0]


@pytest.mark.parametrize("attention", [SOFTMAX, RELU])
def test_marginals_are_sums_over_single_positions(tmp_path, attention):
    lm = load(tmp_path, "mlm", attention)
    unmasked = log_p(lm, WILD_TYPE)
    masked_marginals, wild_type_marginals = [], []
    for text in VARIANTS:
        mutations = parse_variant(text)
        of_masked = [log_p(lm, WILD_TYPE, [each.position])[each.position] for each in mutations]
        for rows, results in (
            (of_masked, masked_marginals),
            ([unmasked[each.position] for each in mutations], wild_type_marginals),
        ):
            results.append(
                sum(
                    of_letter(lm, row, each.mutant) - of_letter(lm, row, each.wild)
                    for row, each in zip(rows, mutations, strict=True)
                )
            )
    np.testing.assert_allclose(lm.variants(WILD_TYPE, VARIANTS), masked_marginals, atol=2e-5)
    found = lm.variants(WILD_TYPE, VARIANTS, "wild-type-marginal")
    np.testing.assert_allclose(found, wild_type_marginals, atol=2e-5)
    assert not np.allclose(masked_marginals, wild_type_marginals, atol=1e-3)


@pytest.mark.parametrize("method", ["pseudo", "one-pass"])
def test_whole_pseudo_likelihoods_are_differences_of_scores(tmp_path, method):
    lm = load(tmp_path, "mlm")
    sequences = [WILD_TYPE, *(mutate(WILD_TYPE, parse_variant(text)) for text in VARIANTS)]
    wild, *others = (each.log_likelihood for each in lm.score(sequences, method))
    expected = np.array(others) - wild
    np.testing.assert_allclose(lm.variants(WILD_TYPE, VARIANTS, method), expected, atol=1e-6)


def test_what_does_not_fit_the_wild_type_is_an_error(tmp_path):
    lm = load(tmp_path, "mlm")
    with pytest.raises(UserError, match="variant 1: T2G: residue 2 of the wild type is K, not T"):
        lm.variants(WILD_TYPE, ["M1A", "T2G"])
    with pytest.raises(UserError, match="was trained on mlm"):
        lm.variants(WILD_TYPE, ["M1A"], "log-ratio")
    with pytest.raises(UserError, match="was trained on causal"):
        load(tmp_path, "causal").variants(WILD_TYPE, ["M1A"], "masked-marginal")


def test_groups_begin_at_their_first_mutation_or_a_little_before():
    firsts = [50, 0, 52, 99, 100, 51, 3]
    assert group_by_prefix(firsts, 100, 10_000) == [
        Group(0, [1, 6]),
        Group(50, [0, 5, 2]),
        Group(99, [3]),
    ]
    # No more rows than a batch has room for, the wild type's among them.
    assert group_by_prefix(firsts, 100, 150) == [
        *(Group(0, [1]), Group(3, [6]), Group(50, [0, 5]), Group(52, [2]), Group(99, [3])),
    ]
    assert group_by_prefix([], 100, 150) == []
    assert tokens_of([Group(0, [1, 6]), Group(90, [0])], 100) == 100 + 3 * 100 + 2 * 10


def test_the_cost_says_what_the_prefix_saves(tmp_path):
    wild = "MKTAYIAKQR" * 20
    every = [f"{wild[i]}{i + 1}{mutant}" for i in range(200) for mutant in "ACDEFGHIKLM"]
    variants = [parse_variant(text) for text in every]
    shared = variant_cost(load(tmp_path, "causal"), 200, variants, "log-ratio")
    whole = variant_cost(load(tmp_path, "causal", REFORMER), 200, variants, "log-ratio")
    assert whole.tokens == (len(every) + 1) * 202
    assert shared.passes == len(every)
    assert 1.7 < whole.tokens / shared.tokens < 2
    masked = load(tmp_path, "mlm")
    assert variant_cost(masked, 200, variants, "masked-marginal") == (200, 200 * 202)
    assert variant_cost(masked, 200, variants, "wild-type-marginal").passes == 1
    assert variant_cost(masked, 200, variants, "pseudo").passes == (len(every) + 1) * 200


@pytest.mark.parametrize("method", ["log-ratio", "masked-marginal"])
def test_only_what_was_counted_is_computed(tmp_path, monkeypatch, method):
    """The cost is that of the rows that the network is given."""
    lm = load(tmp_path, "causal" if method == "log-ratio" else "mlm")
    variants = [parse_variant(text) for text in VARIANTS]
    tokens = 0
    for name in ("step", "_hidden"):
        real = getattr(lm.network, name)

        def count(inputs, *args, _real=real):
            nonlocal tokens
            tokens += inputs.numel()
            return _real(inputs, *args)

        monkeypatch.setattr(lm.network, name, count)
    lm.variants(WILD_TYPE, VARIANTS)
    expected = variant_cost(lm, len(WILD_TYPE), variants, method).tokens
    # The wild type is read up to the last group only.
    assert expected - len(WILD_TYPE) <= tokens <= expected
