"""A user's mistake is one message that names the config's key, and never a traceback."""

import subprocess
import sys

import pytest
from runs import ROOT, SMALL, compose_run, write_proteins

from protein_performer.errors import UserError
from train import train


@pytest.fixture(scope="module")
def fasta(tmp_path_factory):
    return write_proteins(tmp_path_factory.mktemp("proteins"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lr=abc", r"optimizer\.lr: expected a number of at least 0, got 'abc'"),
        ("optimizer.lr=-1", r"optimizer\.lr: "),
        ("optimizer.momentum=1.5", r"optimizer\.momentum: expected a number in \[0, 1\)"),
        ("optimizer.betas=[0.9]", r"optimizer\.betas: expected two numbers"),
        ("+optimizer.lrr=1", r"optimizer\.lrr: there is no such option; there are: .*weight_decay"),
        ("seed=abc", "seed: expected a whole number"),
        ("seed=-1", "seed: expected a whole number"),
        ("model.dropout=2", r"model\.dropout: "),
        ("trainer.max_time=10", r"trainer\.max_time: expected days:hours:minutes:seconds"),
        ("trainer.devices=nine", "trainer: "),
        ("trainer.precision=7", "trainer: .*[Pp]recision"),
        ("schedule.warmup_share=2", r"schedule\.warmup_share"),
        ("data.bucket_ratio=0", r"data\.bucket_ratio"),
        ("callbacks.checkpoint.every_n_train_steps=0", "every_n_train_steps"),
    ],
)
def test_a_wrong_value_is_said_with_its_key(tmp_path, fasta, override, message):
    with pytest.raises(UserError, match=message) as caught:
        train(compose_run(tmp_path, fasta, override))
    assert "\n" not in str(caught.value)


def test_sending_to_wandb_without_a_key_is_said_before_anything_is_computed(
    tmp_path, fasta, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))  # whoever runs this may have a key
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    wandb = ("logger=wandb", "logger.mode=online", f"logger.wandb.save_dir={tmp_path / 'logs'}")
    with pytest.raises(UserError, match="wandb login"):
        train(compose_run(tmp_path / "run", fasta, *wandb))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("optimizer.lr=abc", "hydra.run.dir={folder}/run"), "error: optimizer.lr: expected"),
        (("hydra.run.dir={folder}/proteins.fasta/run",), "Not a directory"),
        (("model=no_such_model", "hydra.run.dir={folder}/run"), "Could not find 'model/no_such"),
    ],
)
def test_the_command_line_says_it_in_a_line_and_exits_with_1(tmp_path, overrides, message):
    fasta = write_proteins(tmp_path, count=100)
    words = [each.format(folder=tmp_path) for each in overrides]
    command = [sys.executable, "train.py", *SMALL, f"data.sources=[{fasta}]", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
