"""A loss that is not finite ends the run, and what was learnt before stays."""

import json

import pytest
import pytorch_lightning as pl
import torch
from breaking import weights
from runs import compose_run, write_proteins

from protein_performer.errors import UserError
from protein_performer.training.callbacks import StopOnNonFinite
from train import train


class Poison(pl.Callback):
    """Makes one weight NaN before a step."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            with torch.no_grad():
                next(pl_module.parameters()).view(-1)[0] = float("nan")


@pytest.fixture(scope="module")
def fasta(tmp_path_factory):
    return write_proteins(tmp_path_factory.mktemp("proteins"))


POISON = "+callbacks.poison={_target_: test_divergence.Poison, step: 3}"
OFTEN = ("callbacks.checkpoint.every_n_train_steps=1", "callbacks.finite.batches=4")


def test_so_many_batches_in_a_row_end_the_run_with_the_last_finite_checkpoint(tmp_path, fasta):
    steps = ("trainer.max_steps=50", "trainer.val_check_interval=50")
    with pytest.raises(UserError, match=r"diverged: train/loss was nan .* at step (7|8)\b"):
        train(compose_run(tmp_path, fasta, *OFTEN, *steps, POISON))
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 3
    assert all(value.isfinite().all() for value in weights(tmp_path).values())
    assert not (tmp_path / "metrics.json").exists()
    status = json.loads((tmp_path / "status.json").read_text())
    assert status["state"] == "failed"
    assert "nan" in status["reason"]


def test_a_validation_that_is_not_finite_keeps_the_best_checkpoint(tmp_path, fasta):
    steps = ("trainer.max_steps=6", "trainer.val_check_interval=2")
    with pytest.raises(UserError, match="diverged: val/loss was nan, at step 4"):
        train(compose_run(tmp_path, fasta, *OFTEN, *steps, POISON))
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["global_step"] == 2


def test_some_bad_batches_between_good_ones_are_no_end(tmp_path, fasta):
    """As a loss scaler of half precision has them: the count begins anew."""
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    stop = StopOnNonFinite(batches=2)
    for loss in [float("inf"), 1.0, float("nan"), 1.0, float("inf"), 1.0]:
        stop.on_train_batch_end(trainer, None, {"loss": torch.tensor(loss)}, None, 0)
    stop.on_train_batch_end(trainer, None, {"loss": torch.tensor(float("nan"))}, None, 0)
    with pytest.raises(UserError, match="at 2 batches in a row"):
        stop.on_train_batch_end(trainer, None, {"loss": torch.tensor(float("nan"))}, None, 0)
