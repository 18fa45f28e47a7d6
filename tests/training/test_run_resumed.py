"""A resumed run is the uninterrupted one: curves, results, best and last weights, bit for bit."""

import os
import subprocess
import sys
import time

import pytest
import torch
import yaml
from breaking import BrokenOff, assert_same_run, break_off, curves, weights
from filelock import FileLock
from runs import ROOT, SMALL, compose_run, losses, write_proteins

from protein_performer.errors import UserError
from train import train

DROPOUT = ("model.dropout=0.2",)
# Validations and with them best.ckpt come before last.ckpt is due, one inside a window.
EARLY = ("trainer.val_check_interval=2", "callbacks.checkpoint.every_n_train_steps=5")
INSIDE = ("trainer.val_check_interval=4", "callbacks.checkpoint.every_n_train_steps=5")
REVERSIBLE = (*DROPOUT, "model.residual=reversible")
WINDOWS = ("trainer.accumulate_grad_batches=3", "data.batch_tokens=1024", "model.dropout=0.2")
STREAM = ("data.mode=stream", "data.buffer=64", "data.num_workers=1")  # 3 buffers an epoch
BASE = (
    "model.redraw_every=2",
    "callbacks.report=null",
    "callbacks.checkpoint.every_n_train_steps=2",
)


@pytest.fixture(scope="module")
def fasta(tmp_path_factory):
    return write_proteins(tmp_path_factory.mktemp("proteins"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, fasta):
    """whole(*options): the folder of the run that was left alone."""
    made = {}

    def run(*options):
        if options not in made:
            made[options] = tmp_path_factory.mktemp("whole")
            train(compose_run(made[options], fasta, *BASE, *options))
        return made[options]

    return run


@pytest.mark.parametrize(
    ("options", "broken"),
    [
        ((), break_off(3)),
        ((), break_off(4)),
        (("model=performer_softmax",), break_off(5)),
        (STREAM, break_off(5)),
        (DROPOUT, break_off(3)),
        (REVERSIBLE, break_off(5)),
        (WINDOWS, break_off(3, batches=1)),
        (WINDOWS, break_off(4, batches=2)),
        # Validation comes behind steps 3 and 6; checkpoints are due at 2, 4 and 6.
        (("trainer.val_check_interval=3",), break_off(3, "val")),
        (("trainer.val_check_interval=3",), break_off(4)),
        (("trainer.val_check_interval=2",), break_off(4, "val")),
        (("trainer.val_check_interval=2",), break_off(4)),
        (("trainer.val_check_interval=2",), break_off(6, "val")),
        (("trainer.val_check_interval=2",), break_off(6, "test")),
        (EARLY, break_off(2)),
        (EARLY, break_off(3)),
        ((*WINDOWS, *INSIDE), break_off(2)),
    ],
)
def test_a_run_broken_off_goes_on_as_if_nothing_had_been(tmp_path, fasta, whole, options, broken):
    with pytest.raises(BrokenOff):
        train(compose_run(tmp_path, fasta, *BASE, *options, broken))
    train(compose_run(tmp_path, fasta, *BASE, *options, "ckpt_path=auto"))
    assert_same_run(tmp_path, whole(*options))


def test_across_an_epochs_end_with_validations_at_it(tmp_path, fasta, whole):
    """An epoch has 19 batches of these proteins; one validation falls on its last."""
    steps = ("trainer.max_steps=22", "trainer.val_check_interval=19")
    for number, broken in enumerate([break_off(19, "val"), break_off(19), break_off(20)]):
        folder = tmp_path / str(number)
        with pytest.raises(BrokenOff):
            train(compose_run(folder, fasta, *BASE, *steps, broken))
        train(compose_run(folder, fasta, *BASE, *steps, "ckpt_path=last"))
        assert_same_run(folder, whole(*steps))


def test_dropout_is_another_one_at_each_batch_and_seed(tmp_path, fasta):
    """Else the tests above would hold for a run without any."""
    runs = {
        "none": ("model.dropout=0",),
        "some": DROPOUT,
        "again": DROPOUT,
        "other": (*DROPOUT, "callbacks.seeds.seed=5"),
    }
    found = {}
    for name, options in runs.items():
        train(compose_run(tmp_path / name, fasta, *options, "trainer.max_steps=2"))
        found[name] = losses(tmp_path / name)
    assert found["some"] == found["again"]
    assert found["some"][0] not in (found["none"][0], found["other"][0])


def test_a_time_limit_waits_for_the_end_of_a_window(tmp_path, fasta, whole):
    """All that was computed is in the weights: the checkpoint is of whole steps."""
    time_is_up = "+callbacks.up={_target_: breaking.TimeIsUp, batch: 6}"
    train(compose_run(tmp_path, fasta, *BASE, *WINDOWS, time_is_up))
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    batches = last["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["processed"]
    assert (batches, last["global_step"]) == (9, 3)
    train(compose_run(tmp_path, fasta, *BASE, *WINDOWS, "ckpt_path=last"))
    assert losses(tmp_path) == losses(whole(*WINDOWS))
    expected = weights(whole(*WINDOWS))
    assert all(torch.equal(value, expected[key]) for key, value in weights(tmp_path).items())


REFUSED = {
    "objective=causal": "objective.causal",
    "model.attention.feature_map=elu_plus_one": "model.attention.feature_map",
    "objective.task.mask=0.5": "objective.task.mask",
    "model.dropout=0.1": "model.dropout",
    "trainer.accumulate_grad_batches=2": "trainer.accumulate_grad_batches",
    "optimizer.weight_decay=0.2": "optimizer.weight_decay",
    "optimizer=adamw": "optimizer._target_",
    "data.batch_tokens=4096": "data.batch_tokens",
    "data.eval_seed=1": "data.eval_seed",
    "seed=1": "seed",
    "trainer.gradient_clip_val=2": "trainer.gradient_clip_val",
}


def test_another_experiment_is_refused_by_name_and_leaves_the_folder_alone(tmp_path, fasta):
    train(compose_run(tmp_path, fasta, "trainer.max_steps=2"))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for override, key in REFUSED.items():
        with pytest.raises(UserError, match=rf"\b{key}: "):
            train(compose_run(tmp_path, fasta, override, "ckpt_path=last"))
    (tmp_path / "new").mkdir()
    shorter = write_proteins(tmp_path / "new", count=350)
    with pytest.raises(UserError, match="content"):  # other proteins under the same config
        train(compose_run(tmp_path, shorter, "trainer.max_steps=4", "ckpt_path=last"))
    after = {path: path.read_bytes() for path in before}
    changed = [path.name for path in before if after[path] != before[path]]
    assert changed in ([], ["status.json"])


def test_what_may_change_is_announced_and_used(tmp_path, fasta, caplog):
    constant = ("schedule=constant", "callbacks.checkpoint.every_n_train_steps=2")
    train(compose_run(tmp_path, fasta, *constant, "trainer.max_steps=2"))
    changes = ("trainer.max_steps=4", "optimizer.lr=0.0005", "data.num_workers=1")
    with caplog.at_level("INFO"):
        train(compose_run(tmp_path, fasta, *constant, *changes, "ckpt_path=last"))
    said = [r.getMessage() for r in caplog.records if "another value" in r.getMessage()]
    assert any("optimizer.lr: 0.002 -> 0.0005" in each for each in said)
    assert any("trainer.max_steps: 2 -> 4" in each for each in said)
    assert not any("num_workers" in each for each in said)  # no result depends on it
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert config["optimizer"]["lr"] == 0.0005
    rates = dict(curves(tmp_path, "rate/pg1"))
    assert rates == {0: 0.002, 1: 0.002, 2: 0.0005, 3: 0.0005}


def test_a_used_folder_is_not_overwritten(tmp_path, fasta):
    train(compose_run(tmp_path, fasta, "trainer.max_steps=1"))
    before = (tmp_path / "checkpoints" / "best.ckpt").read_bytes()
    with pytest.raises(UserError, match="ckpt_path=last"):
        train(compose_run(tmp_path, fasta, "trainer.max_steps=1"))
    assert (tmp_path / "checkpoints" / "best.ckpt").read_bytes() == before
    (tmp_path / "checkpoints" / "last.ckpt").unlink()
    with pytest.raises(UserError, match="without a run"):  # what is left is worth something
        train(compose_run(tmp_path, fasta, "trainer.max_steps=1", "ckpt_path=auto"))


def test_the_second_run_in_a_folder_is_refused(tmp_path, fasta):
    with FileLock(tmp_path / ".lock"), pytest.raises(UserError, match="another run"):
        train(compose_run(tmp_path, fasta))


def test_resuming_where_there_is_nothing_is_an_error(tmp_path, fasta):
    with pytest.raises(UserError, match=r"hydra\.run\.dir"):
        train(compose_run(tmp_path, fasta, "ckpt_path=last"))


def test_a_damaged_checkpoint_is_one_message(tmp_path, fasta):
    (tmp_path / "torn.ckpt").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(UserError, match=r"torn\.ckpt"):
        train(compose_run(tmp_path / "run", fasta, f"ckpt_path={tmp_path / 'torn.ckpt'}"))


@pytest.mark.parametrize("where", ["val", "test"])
def test_a_process_killed_behind_its_last_step_reports_what_it_would_have(
    tmp_path, fasta, whole, where
):
    """Nothing is written as a killed process ends: neither curves nor a checkpoint."""
    options = ("trainer.val_check_interval=2",)
    killed = (*BASE, *options, break_off(6, where, kill=True))
    code = "from runs import compose_run; from train import train\n" + (
        f"train(compose_run({str(tmp_path)!r}, {str(fasta)!r}, *{killed!r}))"
    )
    places = os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "training")])
    environment = {**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=False)
    assert ended.returncode == -9
    assert not (tmp_path / "metrics.json").exists()
    train(compose_run(tmp_path, fasta, *BASE, *options, "ckpt_path=auto"))
    assert_same_run(tmp_path, whole(*options))


SLOWLY = (
    *("trainer.max_steps=100000", "trainer.max_time=null", "schedule=constant"),
    *("trainer.val_check_interval=100000", "callbacks.checkpoint.every_n_train_steps=100000"),
)


def started(run_dir, fasta, *options):
    """A run in a process of its own that has taken its first steps."""
    process = subprocess.Popen(
        [
            *(sys.executable, "train.py", *SMALL, *options, f"data.sources=[{fasta}]"),
            *(f"hydra.run.dir={run_dir}", "+logger.csv.flush_logs_every_n_steps=1"),
        ],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while process.poll() is None and not (run_dir / "metrics.csv").is_file():
        time.sleep(0.05)
    return process


@pytest.mark.parametrize(("number", "code"), [(15, 143), (2, 130)])
def test_a_signal_saves_a_checkpoint_and_says_how_to_go_on(tmp_path, fasta, number, code):
    process = started(tmp_path, fasta, *SLOWLY)
    process.send_signal(number)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == code, said
    assert "ckpt_path=auto" in said
    assert "Traceback" not in said
    assert (tmp_path / "status.json").read_text().count('"stopped"') == 1
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    steps = last["global_step"]
    assert steps > 0
    assert sorted(losses(tmp_path)) == list(range(steps))
