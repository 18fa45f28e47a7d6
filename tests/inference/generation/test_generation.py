"""Generated proteins are draws from the model's own distribution, as the parallel pass has it."""

import math

import numpy as np
import pytest
import torch
from tiny import RELU, SOFTMAX, tiny_config, write_checkpoint

import protein_performer as pp
from protein_performer.errors import UserError
from protein_performer.inference.generation.generation import generate, in_paint
from protein_performer.inference.generation.sampling import Sampling

FAVOR_SOFTMAX = {**RELU, "feature_map": "softmax"}
WINDOW = {
    "_target_": "protein_performer.attention.sliding_window.SlidingWindow",
    "window": 4,
}
STEPPING = pytest.mark.parametrize(
    "attention", [RELU, FAVOR_SOFTMAX, SOFTMAX, WINDOW], ids=["relu", "favor", "exact", "window"]
)


@pytest.fixture
def model(tmp_path):
    def make(objective="causal", attention=RELU, **trunk):
        write_checkpoint(tmp_path / "a.ckpt", tiny_config(objective, attention, **trunk))
        return pp.load(tmp_path / "a.ckpt", device="cpu")

    return make


def log_likelihood(lm, sequence):
    """Of the residues, from the parallel pass."""
    codes = torch.tensor(lm.encode(sequence)[0].tolist())
    (logits,) = lm.logits(sequence)
    return float(torch.log_softmax(logits, -1)[range(len(codes)), codes].double().sum())


@STEPPING
def test_scores_are_those_of_the_parallel_pass(model, attention):
    lm = model(attention=attention, convolution=3)
    proteins = generate(lm, 5, max_length=40, prompt="MKT")
    assert len({protein.sequence for protein in proteins}) == 5
    for protein in proteins:
        assert protein.sequence.startswith("MKT")
        wanted = log_likelihood(lm, protein.sequence)
        assert protein.log_likelihood == pytest.approx(wanted, rel=1e-5)


@STEPPING
def test_greedy_proteins_take_the_likeliest_residue_at_every_place(model, attention):
    lm = model(attention=attention)
    (protein,) = generate(lm, 1, max_length=30, sampling=Sampling(temperature=0))
    (logits,) = lm.logits(protein.sequence)
    standard = list(lm.alphabet.standard_codes)
    eos = lm.alphabet.eos
    for i, residue in enumerate(lm.encode(protein.sequence)[0]):
        choices = standard if i == 0 else [eos, *standard]
        assert residue == choices[int(logits[i, choices].argmax())]


def test_draws_follow_the_model(model):
    """Frequencies of the first residue, within four standard errors of their probabilities."""
    lm = model()
    number = 4000
    proteins = generate(lm, number, max_length=1)
    counts = np.bincount([lm.encode(each.sequence)[0][0] for each in proteins], minlength=30)
    logits = lm.network(torch.tensor([[lm.alphabet.bos]]))[0, 0]
    standard = torch.full((30,), -torch.inf)
    codes = lm.alphabet.standard_codes
    standard[codes.start : codes.stop] = logits[codes.start : codes.stop]
    p = torch.softmax(standard.double(), -1).detach().numpy()
    assert (np.abs(counts - number * p) <= 4 * np.sqrt(number * p * (1 - p)) + 1e-9).all()


def test_a_nucleus_and_a_temperature_by_hand():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    draw = lambda u, **options: int(  # noqa: E731
        Sampling(**options).choose(logits, torch.tensor([u], dtype=torch.float64))
    )
    assert [draw(u) for u in (0.0, 0.49, 0.51, 0.79, 0.81, 0.96, 1 - 1e-16)] == [
        0,
        0,
        1,
        1,
        2,
        3,
        3,
    ]
    # 0.7 needs two tokens: 0.5 / 0.8 and 0.3 / 0.8.
    assert [draw(u, top_p=0.7) for u in (0.62, 0.63, 1 - 1e-16)] == [0, 1, 1]
    assert draw(0.99, temperature=0) == 0
    # Squared and divided by their sum, the first has 0.25 / 0.365.
    assert [draw(u, temperature=0.5) for u in (0.684, 0.686)] == [0, 1]


def test_a_protein_is_a_function_of_seed_and_number(model):
    lm = model()
    together = generate(lm, 6, max_length=25)
    lm.batch_tokens = 128  # one at a time
    assert [each.sequence for each in generate(lm, 6, max_length=25)] == [
        each.sequence for each in together
    ]
    other = generate(lm, 6, max_length=25, sampling=Sampling(seed=1))
    assert {each.sequence for each in other}.isdisjoint(each.sequence for each in together)


def test_a_model_that_likes_to_end_ends_and_never_at_once(model):
    lm = model()
    with torch.no_grad():
        lm.network.head.bias[lm.alphabet.eos] += 8
    proteins = generate(lm, 20, max_length=50)
    assert all(len(each.sequence) >= 1 for each in proteins)
    assert sum(each.ended for each in proteins) > 10
    for protein in proteins:
        assert protein.ended == (len(protein.sequence) < 50)
        wanted = log_likelihood(lm, protein.sequence)
        assert protein.log_likelihood == pytest.approx(wanted, rel=1e-5)


def test_the_state_of_favor_does_not_grow(model):
    lm = model()

    def size(length):
        state = lm.network.init_state(1)
        for _ in range(length):
            _, state = lm.network.step(torch.tensor([[5]]), state)
        return sum(x.numel() for x in _tensors(state))

    assert size(3) == size(60)


def _tensors(state):
    if isinstance(state, torch.Tensor):
        yield state
    elif isinstance(state, tuple):
        for each in state:
            yield from _tensors(each)


def test_rare_letters_occur_only_if_asked_for(model):
    lm = model()
    with torch.no_grad():
        lm.network.head.bias[lm.alphabet.standard_codes.stop :] += 8
    rare = set(lm.alphabet.rare)
    assert not rare & set(generate(lm, 1, max_length=40)[0].sequence)
    assert rare & set(generate(lm, 1, max_length=40, rare=True)[0].sequence)


def test_in_painting_changes_the_masked_places_only(model):
    lm = model("mlm")
    sequence = "MKTAYIAKQRQISFVKSHFSRQ"
    places = [2, 7, 8, 21]
    proteins = in_paint(lm, sequence, places, 8)
    assert len({each.sequence for each in proteins}) > 1
    for protein in proteins:
        kept = [i for i in range(len(sequence)) if i not in places]
        assert [protein.sequence[i] for i in kept] == [sequence[i] for i in kept]


def test_in_painting_one_place_draws_what_the_masked_model_says(model):
    lm = model("mlm")
    sequence = "MKTAYIAK"
    (protein,) = in_paint(lm, sequence, [3], 1, sampling=Sampling(temperature=0))
    tokens = torch.tensor([[1, *lm.encode(sequence)[0].tolist(), 2]])
    tokens[0, 4] = lm.alphabet.mask
    log_p = torch.log_softmax(lm.network(tokens)[0, 4].detach(), -1)
    codes = lm.alphabet.standard_codes
    best = codes.start + int(log_p[codes.start : codes.stop].argmax())
    assert lm.encode(protein.sequence)[0][3] == best
    assert protein.log_likelihood == pytest.approx(float(log_p[best]), rel=1e-5)


@pytest.mark.parametrize(
    ("objective", "attention", "options", "message"),
    [
        ("mlm", RELU, {}, "expected a model of the next residue"),
        (
            "causal",
            {"_target_": "protein_performer.attention.reformer.reformer.Reformer"},
            {},
            "Reformer cannot go on",
        ),
        ("causal", RELU, {"prompt": "MKT", "max_length": 3}, "more than the 3 residues"),
        ("causal", RELU, {"prompt": "M*T"}, "prompt: expected residues"),
    ],
)
def test_what_cannot_be_generated_is_refused(model, objective, attention, options, message):
    lm = model(objective, attention)
    with pytest.raises(UserError, match=message):
        generate(lm, 1, **{"max_length": 10, **options})


@pytest.mark.parametrize("places", [[], [8], [-1]])
def test_places_that_are_not_there_are_refused(model, places):
    with pytest.raises(UserError, match="places from 1 to 8"):
        in_paint(model("mlm"), "MKTAYIAK", places, 1)


@pytest.mark.parametrize(
    "options", [{"temperature": -1.0}, {"temperature": math.nan}, {"top_p": 0.0}, {"top_p": 1.1}]
)
def test_draws_that_mean_nothing_are_refused(options):
    with pytest.raises(UserError, match="expected a"):
        Sampling(**options)
