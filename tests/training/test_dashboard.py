"""wandb: one run, also of one that is resumed; and where it is not used, it is not imported."""

import subprocess
import sys

import pytest
from breaking import BrokenOff, break_off
from runs import ROOT, compose_run, write_proteins

from train import train


@pytest.fixture(scope="module")
def fasta(tmp_path_factory):
    return write_proteins(tmp_path_factory.mktemp("proteins"))


def test_a_resumed_run_is_the_same_wandb_run(tmp_path, fasta, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    logs = tmp_path / "logs"
    options = (
        "logger=wandb",
        f"logger.wandb.save_dir={logs}",
        "callbacks.report=null",
    )
    often = ("trainer.max_steps=3", "callbacks.checkpoint.every_n_train_steps=1")
    run = tmp_path / "run"
    with pytest.raises(BrokenOff):
        train(compose_run(run, fasta, *options, *often, break_off(2)))
    train(compose_run(run, fasta, *options, *often, "ckpt_path=auto"))
    folders = sorted((logs / "wandb").glob("offline-run-*"))
    identities = {folder.name.rpartition("-")[2] for folder in folders}
    assert identities == {(run / "wandb_id").read_text()}
    train(compose_run(tmp_path / "other", fasta, *options, "trainer.max_steps=1"))
    assert (tmp_path / "other" / "wandb_id").read_text() not in identities


def test_without_it_wandb_is_not_imported(tmp_path, fasta):
    code = "import sys; import train; import runs\n" + (
        f"train.train(runs.compose_run({str(tmp_path)!r}, {str(fasta)!r}, 'trainer.max_steps=1'))\n"
        "sys.exit('wandb' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "HOME": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
