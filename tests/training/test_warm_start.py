"""A run that begins with another model's weights."""

import csv
import json
import logging

import pytest
import torch
from breaking import BrokenOff, assert_same_run, break_off
from runs import compose_run, losses, write_proteins
from tiny import RELU, SOFTMAX, tiny_config, tiny_network

from protein_performer.alphabet import Alphabet
from protein_performer.batch import Batch
from protein_performer.errors import UserError
from protein_performer.training.distillation import distil
from protein_performer.training.warm_start import Donor, take_weights
from train import train

REFORMER = {"_target_": "protein_performer.attention.reformer.reformer.Reformer", "chunk": 4}

SPOILING = "optimizer.lr=0.5"


@pytest.fixture(scope="module")
def fasta(tmp_path_factory):
    return write_proteins(tmp_path_factory.mktemp("proteins"))


@pytest.fixture(scope="module")
def exact(tmp_path_factory, fasta):
    """The folder of a run with exact attention."""
    folder = tmp_path_factory.mktemp("exact")
    train(compose_run(folder, fasta, "model=transformer"))
    return folder


def donor(network, alphabet=None):
    return Donor("theirs", network, alphabet or Alphabet())


def drawn(attention, objective="mlm", **trunk):
    """A network with weights of its own."""
    network = tiny_network(tiny_config(objective, attention, **trunk))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    return network


def first_validation(folder):
    with open(folder / "metrics.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["val/perplexity"]]
    return int(rows[0]["step"]), float(rows[0]["val/perplexity"])


def test_the_same_mechanism_begins_where_the_other_run_ended(tmp_path, fasta, exact):
    train(compose_run(tmp_path, fasta, "model=transformer", f"init_from={exact}", "seed=5"))
    ended = json.loads((exact / "metrics.json").read_text())["val/perplexity"]
    step, perplexity = first_validation(tmp_path)
    assert step == 0
    assert perplexity == pytest.approx(ended, rel=1e-6)  # loggers round to float32


def test_another_mechanism_says_what_it_took_and_where_it_begins(tmp_path, fasta, exact, caplog):
    caplog.set_level(logging.INFO)
    train(compose_run(tmp_path, fasta, "model=performer_softmax", f"init_from={exact}"))
    config = (tmp_path / "config.yaml").read_text()
    assert f"init_from: {exact}" in config
    parameters = json.loads((tmp_path / "metrics.json").read_text())["model/parameters"]
    assert f"{parameters:,} of {parameters:,} parameters taken" in caplog.text
    assert f"before the first step: val ppl {first_validation(tmp_path)[1]:.2f}" in caplog.text


def test_a_resumed_run_does_not_begin_again(tmp_path, fasta, exact):
    options = ("model=performer_relu", f"init_from={exact}", "callbacks.report=null")
    options += ("callbacks.checkpoint.every_n_train_steps=2", "trainer.val_check_interval=3")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(compose_run(whole, fasta, *options))
    with pytest.raises(BrokenOff):
        train(compose_run(broken, fasta, *options, break_off(4)))
    train(compose_run(broken, fasta, *options, "ckpt_path=auto"))
    assert_same_run(broken, whole)


@pytest.mark.parametrize("step", [1, 3])
def test_a_run_killed_before_its_first_checkpoint_does_not_distil_again(
    tmp_path, fasta, exact, step, caplog
):
    options = ("model=performer_relu", f"init_from={exact}", "distil=5", "callbacks.report=null")
    options += ("callbacks.checkpoint.every_n_train_steps=4", "trainer.val_check_interval=2")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(compose_run(whole, fasta, *options))
    with pytest.raises(BrokenOff):
        train(compose_run(broken, fasta, *options, break_off(step)))
    caplog.set_level(logging.INFO)
    caplog.clear()
    train(compose_run(broken, fasta, *options, "ckpt_path=auto"))
    assert "distilling" not in caplog.text
    assert_same_run(broken, whole)


def test_weights_that_training_only_spoils_are_the_best(tmp_path, fasta, exact):
    train(compose_run(tmp_path, fasta, "model=transformer", f"init_from={exact}", SPOILING))
    theirs = torch.load(exact / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["global_step"] == 0
    for name, weight in best["state_dict"].items():
        assert torch.equal(weight, theirs[name])


@pytest.mark.parametrize("mode", [(), ("data.mode=stream", "data.buffer=64")], ids=str)
def test_training_behind_a_distilling_without_effect_is_what_it_would_be(
    tmp_path, fasta, exact, mode
):
    """An equal mechanism has no error to its teacher; its batches are not those of training."""
    for steps in (0, 3):
        options = ("model=transformer", f"init_from={exact}", f"distil={steps}", *mode)
        train(compose_run(tmp_path / str(steps), fasta, *options))
    assert losses(tmp_path / "0") == losses(tmp_path / "3")


@pytest.mark.parametrize("attention", [SOFTMAX, RELU])
def test_every_weight_is_taken(attention):
    theirs, ours = drawn(SOFTMAX), tiny_network(tiny_config("causal", attention))
    taken = take_weights(ours, donor(theirs), Alphabet())
    assert taken.parameters == taken.of
    assert not taken.left
    assert not taken.unused
    weights = theirs.state_dict()
    for name, parameter in ours.named_parameters():
        assert torch.equal(parameter, weights[name])


def test_what_does_not_fit_is_named_and_stays_as_drawn():
    theirs, ours = drawn(SOFTMAX), tiny_network(tiny_config(attention=REFORMER))
    before = ours.blocks[1].attention.inputs.weight.clone()
    taken = take_weights(ours, donor(theirs), Alphabet())
    assert taken.left == taken.unused == ["blocks.*.attention.inputs.weight"]
    assert taken.of - taken.parameters == 2 * before.numel()
    assert torch.equal(ours.blocks[1].attention.inputs.weight, before)


def test_random_features_are_no_weights():
    theirs, ours = drawn(SOFTMAX), tiny_network(tiny_config(attention=RELU))
    features = ours.mechanisms[0].projection.clone()
    assert not take_weights(ours, donor(theirs), Alphabet()).left
    assert torch.equal(ours.mechanisms[0].projection, features)


def test_another_trunk_is_refused_with_the_overrides_to_give():
    theirs = drawn(SOFTMAX, d_ff=48, bias=True, convolution=3)
    with pytest.raises(UserError) as refused:
        take_weights(tiny_network(tiny_config()), donor(theirs), Alphabet())
    message = str(refused.value)
    assert "got d_ff=32 convolution=null bias=false" in message
    assert message.endswith("Set model.d_ff=48 model.convolution=3 model.bias=true")


def test_another_alphabet_is_refused():
    other = Alphabet(rare="BJOUZX")
    with pytest.raises(UserError, match="would mean other tokens"):
        take_weights(tiny_network(tiny_config()), donor(drawn(SOFTMAX), other), Alphabet())


def test_what_is_no_run_is_one_line(tmp_path, fasta):
    with pytest.raises(UserError, match="there is no such checkpoint"):
        train(compose_run(tmp_path / "run", fasta, f"init_from={tmp_path / 'nothing'}"))


def batches(number=3):
    generator = torch.Generator().manual_seed(0)
    for _ in range(number):
        tokens = torch.randint(4, 24, (4, 12), generator=generator)
        mask = torch.ones(4, 12, dtype=torch.bool)
        mask[2, 7:] = False
        yield Batch(tokens, tokens, mask, torch.arange(4))


def distilled(student, teacher, steps):
    reports = []
    distil(student, teacher, list(batches()), steps, lambda step, errors: reports.append(errors))
    return reports


def test_distilling_an_equal_model_finds_no_error_and_changes_nothing():
    teacher, student = (tiny_network(tiny_config()) for _ in range(2))
    before = {name: p.clone() for name, p in student.named_parameters()}
    assert distilled(student, teacher, 3) == [[0.0, 0.0]] * 3
    assert all(torch.equal(p, before[name]) for name, p in student.named_parameters())


def test_distilling_brings_attention_nearer_and_leaves_the_rest():
    teacher, student = tiny_network(tiny_config()), tiny_network(tiny_config(attention=RELU))
    take_weights(student, donor(teacher), Alphabet())
    before = {name: p.clone() for name, p in student.named_parameters()}
    state = torch.random.get_rng_state()
    reports = distilled(student, teacher, 100)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert len(reports) == 10
    assert all(last < first for first, last in zip(reports[0], reports[-1], strict=True))
    for name, parameter in student.named_parameters():
        assert torch.equal(parameter, before[name]) == (".attention." not in name)
        assert parameter.grad is None


def test_a_run_distils_before_it_trains(tmp_path, fasta, exact, caplog):
    caplog.set_level(logging.INFO)
    options = ("model=performer_relu", f"init_from={exact}", "distil=20", "trainer.max_steps=2")
    metrics = train(compose_run(tmp_path, fasta, *options))
    assert metrics["train/distil_seconds"] > 0
    errors = [
        r.message.partition("errors ")[2] for r in caplog.records if "distilling" in r.message
    ]
    first, last = (list(map(float, each.split())) for each in (errors[0], errors[-1]))
    assert len(errors) == 10
    assert sum(last) < sum(first)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("distil=3",), "expected 0, or a number of steps with init_from"),
        (("distil=many",), "expected 0, or a number of steps"),
        (("distil=3", "init_from=EXACT", "objective=causal"), "sees what the model sees"),
    ],
)
def test_distilling_without_a_teacher_that_fits_is_refused(tmp_path, fasta, exact, options, reason):
    options = [each.replace("EXACT", str(exact)) for each in options]
    with pytest.raises(UserError, match=reason):
        train(compose_run(tmp_path / "run", fasta, *options))
