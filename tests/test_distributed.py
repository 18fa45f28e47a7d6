"""Two processes with two workers each take the steps of one process."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
from pytorch_lightning.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from runs import ROOT, SMALL, compose_run, write_proteins
from test_train import losses

from protein_performer.errors import UserError
from protein_performer.training.run import check_multirun
from train import train


def test_two_ranks_with_two_workers_take_the_steps_of_one(tmp_path):
    """Losses, validation, test and the number of residues; only rank 0 prints."""
    fasta = write_proteins(tmp_path)
    alone = train(compose_run(tmp_path / "one", fasta))
    command = [sys.executable, str(ROOT / "train.py"), *SMALL, f"data.sources=[{fasta}]"]
    two = [f"hydra.run.dir={tmp_path / 'two'}", "trainer=ddp", "data.num_workers=2"]
    done = subprocess.run(
        [*command, *two, "trainer.devices=2", "trainer.max_time=null"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("empirical baseline") == 1
    expected, found = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert sorted(found) == list(range(6))
    assert found == pytest.approx(expected, abs=1e-5)
    together = json.loads((tmp_path / "two" / "metrics.json").read_text())
    assert together.keys() == alone.keys()
    for name, value in alone.items():
        if name.endswith(("residues", "steps")):
            assert together[name] == value, name
        elif name.endswith(("loss", "perplexity")):
            assert together[name] == pytest.approx(value, rel=1e-5), name


def test_a_multirun_starts_no_ranks_of_its_own():
    def ranks(environment, number):
        strategy = SimpleNamespace(cluster_environment=environment)
        return SimpleNamespace(strategy=strategy, world_size=number, num_devices=number)

    check_multirun(pl.Trainer(accelerator="cpu", devices=1, logger=False))
    check_multirun(ranks(LightningEnvironment(), 1))
    check_multirun(ranks(TorchElasticEnvironment(), 2))
    with pytest.raises(UserError, match="torchrun --nproc_per_node=2"):
        check_multirun(ranks(LightningEnvironment(), 2))
