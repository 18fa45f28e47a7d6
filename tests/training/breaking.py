"""Runs that are broken off as a kill would, and what is compared of them after they went on."""

import csv
import json
import os
import signal

import pytorch_lightning as pl
import torch
from runs import losses


class BrokenOff(Exception):
    pass


class BreakOff(pl.Callback):
    """Ends a run at a step: nothing is saved any more.

    Args:
        step: optimizer steps taken.
        where: `train`, before the next batch; `val`, in the middle of a validation; `test`.
        batches: of these to let pass first.
        kill: the process, as kill -9 does; else raise BrokenOff.
    """

    def __init__(self, step, where="train", batches=0, kill=False):
        self.step, self.where, self.batches, self.kill = step, where, batches, kill

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self._break(trainer, "train")

    def on_validation_batch_end(self, trainer, *args):
        self._break(trainer, "val")

    def on_test_start(self, trainer, pl_module):
        self._break(trainer, "test")

    def _break(self, trainer, where):
        if where == self.where and trainer.global_step == self.step:
            if not self.batches:
                if self.kill:
                    os.kill(os.getpid(), signal.SIGKILL)
                raise BrokenOff
            self.batches -= 1


class TimeIsUp(pl.Callback):
    """Asks for the end as a time limit does: at each batch from one on."""

    def __init__(self, batch):
        self.batch = batch

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        trainer.should_stop = trainer.should_stop or batch_idx >= self.batch


def break_off(step, where="train", batches=0, kill=False):
    """The override that breaks a run off."""
    return (
        "+callbacks.broken={_target_: breaking.BreakOff,"
        f" step: {step}, where: {where}, batches: {batches}, kill: {kill}}}"
    )


def curves(run_dir, name="train/loss"):
    """[(step, value)] of a run, as they stand in its metrics.csv."""
    with open(run_dir / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    return [(int(row["step"]), float(row[name])) for row in rows if row.get(name)]


def figures(run_dir):
    """What `metrics.json` says, but for how long it took."""
    found = json.loads((run_dir / "metrics.json").read_text())
    cost = ("train/seconds", "train/distil_seconds", "train/peak_memory_bytes")
    return {name: value for name, value in found.items() if name not in cost}


def weights(run_dir, name="last"):
    path = run_dir / "checkpoints" / f"{name}.ckpt"
    return torch.load(path, weights_only=True)["state_dict"]


def assert_same_run(ours, theirs):
    """Curves, results, last and best weights, to the last bit."""
    assert losses(ours) == losses(theirs)
    assert curves(ours, "val/perplexity") == curves(theirs, "val/perplexity")
    assert figures(ours) == figures(theirs)
    for name in ("last", "best"):
        found, expected = weights(ours, name), weights(theirs, name)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert torch.equal(found[key], value), f"{name}: {key}"
