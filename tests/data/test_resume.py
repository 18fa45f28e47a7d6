"""Resuming through Lightning's own checkpoints: the next unseen batch, bit for bit."""

from types import MappingProxyType

import pytest
import pytorch_lightning as pl
import torch
from data.made_up import data_module

from protein_performer.errors import UserError

pytestmark = [
    # Lightning 2.6 on torch 2.13.
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty.*"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    # The resumed runs here save nothing.
    pytest.mark.filterwarnings("ignore:Be aware that when using .ckpt_path.*"),
]


class Watcher(pl.LightningModule):
    """Learns nothing and keeps a digest of every training batch."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch, batch_index):
        self.seen.append(tuple(hash(part.numpy().tobytes()) for part in batch))
        return 0 * self.weight

    def validation_step(self, batch, batch_index):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def fit(
    folder,
    steps,
    *,
    checkpoint=None,
    save_every=None,
    save_end=None,
    workers=0,
    data=MappingProxyType({}),
    **options,
):
    """Digests of the batches that a run trains on; `data` goes to the data module."""
    callbacks = []
    if save_every:
        callbacks = [
            pl.callbacks.ModelCheckpoint(
                folder, every_n_train_steps=save_every, save_top_k=-1, filename="{step}"
            )
        ]
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=steps,
        max_epochs=-1,
        logger=False,
        callbacks=callbacks,
        enable_checkpointing=bool(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=1,
        **options,
    )
    watcher = Watcher()
    module = data_module(folder, count=250, batch_tokens=2500, num_workers=workers, **data)
    trainer.fit(watcher, module, ckpt_path=checkpoint)
    if save_end:
        trainer.save_checkpoint(folder / save_end)
    return watcher.seen


STEPS = 32  # two epochs of 13 batches and a part of the third


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with a checkpoint of each step, and the batches of the run that was never broken."""
    folder = tmp_path_factory.mktemp("runs")
    return folder, fit(folder, STEPS, save_every=1)


def test_the_epochs_are_as_the_tests_below_assume(runs):
    folder, seen = runs
    epoch = data_module(folder, batch_tokens=2500).steps_per_epoch
    assert epoch == 13
    assert len(set(seen)) == STEPS


@pytest.mark.parametrize("offset", [-1, 0, 1], ids=["before", "at", "after"])
def test_a_run_resumed_around_the_end_of_an_epoch_goes_on(runs, offset):
    folder, seen = runs
    step = data_module(folder, batch_tokens=2500).steps_per_epoch + offset
    assert fit(folder, STEPS, checkpoint=folder / f"step={step}.ckpt") == seen[step:]


@pytest.mark.parametrize("step", [1, 4])
def test_a_run_resumed_in_the_middle_with_other_workers_goes_on(runs, step):
    folder, seen = runs
    resumed = fit(folder, STEPS, checkpoint=folder / f"step={step}.ckpt", workers=2)
    assert resumed == seen[step:]


def test_a_run_ended_by_max_steps_can_be_prolonged_twice(runs, tmp_path):
    """Lightning counts such an epoch as complete; its remaining batches are not skipped."""
    folder, seen = runs
    assert fit(folder, 4, save_end="first.ckpt") == seen[:4]
    second = fit(folder, 7, checkpoint=folder / "first.ckpt", save_end="second.ckpt")
    assert second == seen[4:7]
    assert fit(folder, STEPS, checkpoint=folder / "second.ckpt") == seen[7:]


def test_accumulation_counts_batches_and_not_optimizer_steps(runs):
    folder, seen = runs
    fit(folder, 3, save_end="accumulated.ckpt", accumulate_grad_batches=2)
    resumed = fit(folder, 5, checkpoint=folder / "accumulated.ckpt", accumulate_grad_batches=2)
    assert resumed == seen[6:10]


def test_limited_epochs_resume_where_they_were_limited(runs):
    folder, _ = runs
    whole = fit(folder, 10, limit_train_batches=4)
    fit(folder, 6, save_end="limited.ckpt", limit_train_batches=4)
    resumed = fit(folder, 10, checkpoint=folder / "limited.ckpt", limit_train_batches=4)
    assert resumed[:2] == whole[6:8]
    assert len(set(whole)) == 10


def test_other_batches_than_the_checkpoints_are_refused(runs):
    folder, _ = runs
    module = data_module(folder, batch_tokens=2500)
    state = {"epoch": 1, "batch": 3, "identity": module.state_dict()["identity"]}
    module.load_state_dict(state)
    assert module.state_dict() == state
    other = data_module(folder, batch_tokens=2000, seed=1)
    with pytest.raises(UserError, match="batch_tokens: 2500 -> 2000; seed: 0 -> 1"):
        other.load_state_dict(state)


# Two buffers of 7 and 6 batches an epoch.
STREAM = {"mode": "stream", "buffer": 100}


@pytest.fixture(scope="module")
def streamed(tmp_path_factory):
    """As `runs`, of a stream."""
    folder = tmp_path_factory.mktemp("streamed")
    return folder, fit(folder, STEPS, save_every=1, data=STREAM, val_check_interval=5)


def test_an_epoch_of_a_stream_is_of_many_batches(streamed):
    folder, seen = streamed
    epoch = len(list(data_module(folder, batch_tokens=2500, **STREAM).train_dataloader()))
    assert 10 < epoch < 15
    assert len(set(seen)) == STEPS


@pytest.mark.parametrize("offset", [-2, -1, 0, 1, 2])
def test_a_stream_resumed_around_the_end_of_an_epoch_goes_on(streamed, offset):
    folder, seen = streamed
    epoch = len(list(data_module(folder, batch_tokens=2500, **STREAM).train_dataloader()))
    checkpoint = folder / f"step={epoch + offset}.ckpt"
    assert fit(folder, STEPS, checkpoint=checkpoint, data=STREAM) == seen[epoch + offset :]


@pytest.mark.parametrize("step", [1, 9])
def test_a_stream_resumed_in_the_middle_with_other_workers_goes_on(streamed, step):
    folder, seen = streamed
    checkpoint = folder / f"step={step}.ckpt"
    assert fit(folder, STEPS, checkpoint=checkpoint, workers=2, data=STREAM) == seen[step:]


def test_a_stream_ended_by_max_steps_can_be_prolonged_twice(streamed):
    folder, seen = streamed
    assert fit(folder, 4, save_end="first.ckpt", data=STREAM) == seen[:4]
    second = fit(folder, 9, checkpoint=folder / "first.ckpt", save_end="second.ckpt", data=STREAM)
    assert second == seen[4:9]
    assert fit(folder, STEPS, checkpoint=folder / "second.ckpt", data=STREAM) == seen[9:]


def test_limited_epochs_of_a_stream_go_on_where_the_last_was_limited(streamed, tmp_path):
    _, seen = streamed
    limit = {"limit_train_batches": 4, "data": STREAM}
    assert fit(tmp_path, 10, save_every=1, **limit) == seen[:10]
    for step in (3, 4, 5):
        resumed = fit(tmp_path, 10, checkpoint=tmp_path / f"step={step}.ckpt", **limit)
        assert resumed == seen[step:10]


def test_accumulation_over_a_stream_counts_batches(streamed):
    folder, seen = streamed
    fit(folder, 3, save_end="accumulated.ckpt", accumulate_grad_batches=2, data=STREAM)
    resumed = fit(
        folder,
        5,
        checkpoint=folder / "accumulated.ckpt",
        accumulate_grad_batches=2,
        data=STREAM,
    )
    assert resumed == seen[6:10]
