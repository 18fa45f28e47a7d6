"""What a probe finds where one knows what is to be found."""

from collections import Counter

import numpy as np
import pytest
import torch
from tiny import RELU, tiny_config, write_checkpoint

import protein_performer as pp
from protein_performer.alphabet import Alphabet
from protein_performer.errors import UserError
from protein_performer.inference.probing.agreement import Agreement
from protein_performer.inference.probing.labelled_proteins import LabelledProteins
from protein_performer.inference.probing.prediction_file import write_predictions
from protein_performer.inference.probing.probe_features import (
    differing_sites,
    one_hot_window,
    states,
    states_at_sites,
    untrained,
)
from protein_performer.inference.probing.probe_kinds import ProbeOptions
from protein_performer.inference.probing.probing import probe
from protein_performer.inference.scoring.ranking import Ranks, spearman

LETTERS = Alphabet().standard


@pytest.fixture(params=["mlm", "causal"])
def model(request, tmp_path):
    write_checkpoint(tmp_path / "a.ckpt", tiny_config(request.param, RELU))
    return pp.load(tmp_path / "a.ckpt", device="cpu")


def labelled(task, sequences, labels, classes=()):
    """A third of the proteins for each part."""
    parts = ["train", "validation", "test"]
    return LabelledProteins(
        task,
        [f"p{i}" for i in range(len(sequences))],
        sequences,
        labels,
        [parts[i % 3] for i in range(len(sequences))],
        list(classes),
        Counter(),
    )


def random_proteins(number, seed=0):
    generator = np.random.default_rng(seed)
    return [
        "".join(generator.choice(list(LETTERS), generator.integers(5, 30))) for _ in range(number)
    ]


def test_numbers_that_are_means_over_letters_are_found_in_the_composition(model):
    sequences = random_proteins(180)
    weights = dict(zip(LETTERS, np.random.default_rng(1).normal(size=20), strict=True))
    numbers = [np.array([np.mean([weights[letter] for letter in s])]) for s in sequences]
    report = probe(model, labelled("regression", sequences, numbers))
    assert [row.name for row in report.rows] == ["composition", "untrained model", "model"]
    composition, _, of_model = report.rows
    assert composition.test > 0.999
    assert (composition.features, of_model.features) == (26, 16)
    test = np.concatenate(numbers[2::3])
    for row in report.rows:
        assert row.test == pytest.approx(spearman(Ranks.of(row.predictions), Ranks.of(test)))
        assert row.interval[0] <= row.test <= row.interval[1]
        assert row.gain == pytest.approx(of_model.test - row.test)
    assert of_model.gain_interval == (0, 0)
    assert composition.gain_interval[1] < 0
    assert report.proteins == {"train": 60, "validation": 60, "test": 60}
    assert (report.constant, report.sites) == (None, None)


def test_classes_and_the_most_frequent_one(model):
    sequences = random_proteins(90)
    classes = [np.array([int(s.count("A") > 0) + int(s.count("C") > 0)]) for s in sequences]
    report = probe(model, labelled("classification", sequences, classes, "abc"))
    test, most = np.concatenate(classes[2::3]), np.bincount(np.concatenate(classes[::3])).argmax()
    assert report.constant == (test == most).mean()
    assert [row.test for row in report.rows] == [
        (row.predictions == test).mean() for row in report.rows
    ]


def test_a_class_of_each_residue_that_its_neighbours_decide(model):
    sequences = random_proteins(90)
    labels = [
        np.array([-1 if i == 0 else LETTERS.index(s[i - 1]) // 10 for i in range(len(s))])
        for s in sequences
    ]
    given = labelled("residues", sequences, labels, "xy")
    report = probe(model, given, ProbeOptions(residues=200))
    names = [row.name for row in report.rows]
    assert names == ["composition", "one-hot window", "untrained model", "model"]
    assert report.rows[1].test > 0.9
    assert report.rows[0].test < 0.7
    assert report.rows[1].features == 13 * 26
    asked = np.concatenate([each[1:] for each in labels[2::3]])
    assert report.labels["test"] == len(asked)
    assert report.rows[3].test == (report.rows[3].predictions == asked).mean()
    # Whole proteins are drawn until there are enough, and the test is never drawn from.
    assert 200 <= report.labels["train"] < 230
    assert report.proteins["train"] < 30 == report.proteins["test"]


def test_variants_are_told_apart_at_the_sites_where_they_differ(model):
    generator = np.random.default_rng(0)
    wild = "".join(generator.choice(list(LETTERS), 60))
    sequences, numbers = [], []
    for _ in range(240):
        one, other = generator.choice(list(LETTERS), 2)
        sequences.append(f"{wild[:20]}{one}{wild[20:40]}{other}{wild[40:]}")
        numbers.append(np.array([LETTERS.index(one) - 2.0 * LETTERS.index(other)]))
    given = labelled("regression", sequences, numbers)
    report = probe(model, given, ProbeOptions("sites", layers=(0, -1)))
    assert report.sites == 2
    assert [(row.name, row.features) for row in report.rows] == [
        ("composition", 26),
        ("one-hot sites", 2 * 26),
        ("untrained model", 2 * 2 * 16),
        ("model", 2 * 2 * 16),
    ]
    assert report.rows[1].test > 0.99
    assert report.rows[3].test > 0.9
    pooled = probe(model, given).rows[3]
    assert pooled.features == 16
    assert pooled.test < report.rows[3].test


def test_features_are_the_embeddings_of_these_layers(model):
    sequences = ["MKTAYIAK", "MKTCYIAR", "MKWCYIAR"]
    codes = model.encode(sequences)
    expected = [model.embed(sequences, "mean", layer=layer).numpy() for layer in (0, -1)]
    found = np.concatenate(states(model, "mean", (0, -1), None)(codes))
    np.testing.assert_allclose(found, np.concatenate(expected, axis=1), atol=1e-6)
    sites = differing_sites(codes)
    assert sites.tolist() == [2, 3, 7]
    found = states_at_sites(model, sites, (-1,), None)(codes)
    for row, residues in zip(found, model.embed(sequences, "residue"), strict=True):
        np.testing.assert_allclose(row, residues.numpy()[sites].reshape(1, -1), atol=1e-6)
    assert differing_sites(model.encode(["MK", "M"])) is None


def test_a_window_has_each_neighbour_in_its_place():
    (found,) = one_hot_window(Alphabet(), radius=1)([Alphabet().encode("MKT")])
    places = found.reshape(3, 26, 3)  # residue, letter, place in the window
    letters = Alphabet().letters
    expected = ["-MK", "MKT", "KT-"]
    for residue, window in enumerate(expected):
        for place, letter in enumerate(window):
            column = [float(each == letter) for each in letters]
            assert places[residue, :, place].tolist() == column


def test_an_untrained_model_is_new_by_its_seed_and_disturbs_nothing(model):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, again, other = (untrained(model, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    weights = [each.network.state_dict() for each in (first, again, other, model)]
    name = "embedding.weight"
    assert torch.equal(weights[0][name], weights[1][name])
    assert not torch.equal(weights[0][name], weights[2][name])
    assert not torch.equal(weights[0][name], weights[3][name])
    assert first.checkpoint.model_config == model.checkpoint.model_config
    assert not first.network.training


def test_accuracy_counts_a_protein_as_often_as_it_is_drawn():
    agreement = Agreement("residues", [np.array([0, 1, 1]), np.array([1])])
    statistic = agreement.statistic(np.array([0, 0, 1, 0]))
    assert statistic(None) == 2 / 4
    assert statistic(np.array([2, 0])) == 4 / 6
    assert statistic(np.array([1, 3])) == 2 / 6


def test_predictions_are_written_beside_what_is_so(tmp_path, model):
    sequences = ["MLA", "ACD", "AML"] * 4
    labels = [np.array([LETTERS.index(letter) % 2 for letter in s]) for s in sequences]
    labels[2][1] = -1
    given = labelled("residues", sequences, labels, "ab")
    report = probe(model, given)
    write_predictions(tmp_path / "out.csv", given, report)
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == ("protein,position,target,composition,one-hot_window,untrained_model,model")
    assert [line.split(",")[:3] for line in lines[1:4]] == [
        ["p2", "1", "a"],
        ["p2", "3", "b"],
        ["p5", "1", "a"],
    ]
    assert len(lines) == 1 + 4 * 3 - 1
    assert [line.split(",")[6] for line in lines[1:]] == [
        "ab"[each] for each in report.rows[3].predictions
    ]


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("residues", ProbeOptions("mean"), "pooling=mean: here each residue has a label"),
        ("regression", ProbeOptions("sites"), "expected sequences of one length that differ"),
        ("regression", ProbeOptions("residue"), "pooling: expected mean, .*, got 'residue'"),
        ("regression", ProbeOptions(layers=(9,)), "layers: expected -3 to 2"),
        ("residues", ProbeOptions(), "expected at least two classes in training, got 1"),
    ],
)
def test_what_cannot_be_is_refused(model, task, options, message):
    sequences = random_proteins(6)
    labels = [np.zeros(len(s), int) if task == "residues" else np.zeros(1) for s in sequences]
    with pytest.raises(UserError, match=message):
        probe(model, labelled(task, sequences, labels), options)


def test_a_protein_that_is_too_long_is_named_or_read_in_windows(tmp_path):
    write_checkpoint(tmp_path / "a.ckpt", tiny_config(positions="learned", max_length=9))
    model = pp.load(tmp_path / "a.ckpt", device="cpu")
    sequences = ["MKTAYIAKQR", "MK", "MA"] * 3
    given = labelled("regression", sequences, [np.array([float(i)]) for i in range(9)])
    with pytest.raises(UserError, match="p0: 10 residues, the model reads at most 7"):
        probe(model, given)
    with pytest.raises(UserError, match="window: the model reads at most 7"):
        probe(model, given, ProbeOptions(window=8))
    assert len(probe(model, given, ProbeOptions(window=7)).rows) == 3
