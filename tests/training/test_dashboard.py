"""wandb: one run, also of one that is resumed; and where it is not used, it is not imported."""

import json
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


def test_the_first_page_is_of_losses_not_of_rates(tmp_path, fasta, monkeypatch):
    """`wandb leet` shows twelve charts a page, sorted by name."""
    monkeypatch.setenv("HOME", str(tmp_path))
    logs = tmp_path / "logs"
    options = ("logger=wandb", f"logger.wandb.save_dir={logs}", "trainer.max_steps=2")
    train(compose_run(tmp_path / "run", fasta, *options, "callbacks.report=null"))
    (folder,) = (logs / "wandb").glob("offline-run-*")
    inspect = [sys.executable, "-m", "wandb", "leet", "inspect", str(folder)]
    told = subprocess.run([*inspect, "--json"], capture_output=True, text=True, check=True).stdout
    rows = [each for each in map(json.loads, told.splitlines()) if each["type"] == "history"]
    charts = {name for row in rows for name in row["history"]["item"] if not name.startswith("_")}
    figures = {f"{name}/{of}" for name in ("test", "val") for of in ("loss", "perplexity")}
    assert {"train/loss", *figures} <= set(sorted(charts)[:12])
    assert "work/rate/pg1" in charts
    command = [*inspect, "--summary"]
    summary = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "test/ngram_perplexity" in summary


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
