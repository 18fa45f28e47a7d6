"""Two processes with two workers each take the steps of one process."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
from kill import read_digests
from pytorch_lightning.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from runs import ROOT, SMALL, compose_run, losses, write_proteins

from protein_performer.errors import UserError
from protein_performer.training.run import check_multirun
from train import train

TESTS = os.pathsep.join([str(ROOT), str(ROOT / "tests")])  # where ranks find kill.WriteDigests

STREAM = ("data.mode=stream", "data.buffer=64")  # 3 buffers an epoch
DIGESTS = "+callbacks.digests={_target_: kill.WriteDigests, path: '${run_dir}/digests'}"


def on_two_ranks(run_dir, fasta, *options):
    """The small run on two real processes with two workers each; what they printed."""
    done = subprocess.run(
        [
            *(sys.executable, str(ROOT / "train.py"), *SMALL, f"data.sources=[{fasta}]"),
            *(f"hydra.run.dir={run_dir}", "trainer=ddp", "data.num_workers=2"),
            *("trainer.devices=2", "trainer.max_time=null", *options),
        ],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": TESTS},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_ranks_with_two_workers_take_the_steps_of_one(tmp_path):
    """Losses, validation, test and the number of residues; only rank 0 prints."""
    fasta = write_proteins(tmp_path)
    alone = train(compose_run(tmp_path / "one", fasta))
    printed = on_two_ranks(tmp_path / "two", fasta)
    assert printed.count("empirical baseline") == 1
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


def test_two_ranks_stream_the_batches_of_one(tmp_path):
    """More than an epoch, each rank a share of each global batch, together all of it."""
    fasta = write_proteins(tmp_path)
    steps = ("trainer.max_steps=16", "trainer.val_check_interval=16")
    options = (*STREAM, *steps, "callbacks.report=null", DIGESTS)
    alone = train(compose_run(tmp_path / "one", fasta, *options))
    printed = on_two_ranks(tmp_path / "two", fasta, *options)
    assert printed.count("read to the end, epoch 1") == 1
    (expected, _), (found, again) = (read_digests(tmp_path / name) for name in ("one", "two"))
    assert sorted(found) == list(range(16))
    assert found == expected  # sums over rows: a row shown twice or left out would change them
    assert again == 0
    shares = [(tmp_path / "two" / f"digests.{rank}").read_text().splitlines() for rank in (0, 1)]
    assert [len(share) for share in shares] == [16, 16]
    assert set(shares[0]).isdisjoint(shares[1])
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-4)
    together = json.loads((tmp_path / "two" / "metrics.json").read_text())
    assert together["train/residues"] == alone["train/residues"]


def test_a_multirun_starts_no_ranks_of_its_own():
    def ranks(environment, number):
        strategy = SimpleNamespace(cluster_environment=environment)
        return SimpleNamespace(strategy=strategy, world_size=number, num_devices=number)

    check_multirun(pl.Trainer(accelerator="cpu", devices=1, logger=False))
    check_multirun(ranks(LightningEnvironment(), 1))
    check_multirun(ranks(TorchElasticEnvironment(), 2))
    with pytest.raises(UserError, match="torchrun --nproc_per_node=2"):
        check_multirun(ranks(LightningEnvironment(), 2))
