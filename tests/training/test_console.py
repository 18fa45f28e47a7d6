"""What a run says of itself while it goes on."""

import io
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Timer
from rich.console import Console
from runs import compose_run, write_proteins

from protein_performer.training import console
from protein_performer.training.console import LogLines, MovingLine, make_progress
from train import train

LONG = {
    "train/loss": 2.8512,
    "val/perplexity": 17.43,
    "speed/residues_per_second": 123_456.0,
    "train/gradient_norm": 1.0,
}


def trainer_at(step, max_steps=1400, callbacks=()):
    metrics = {name: torch.tensor(value) for name, value in LONG.items()}
    return SimpleNamespace(
        global_step=step,
        max_steps=max_steps,
        callbacks=callbacks,
        progress_bar_metrics=metrics,
        is_global_zero=True,
        training=True,
        validating=False,
    )


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def test_the_time_left_is_the_runs(clock):
    """Also of a resumed run, whose earlier steps took no time of this process."""
    progress = LogLines(50)
    progress.on_train_start(trainer_at(400), None)
    clock.seconds += 100
    line = progress.line(trainer_at(600))
    assert line == "loss 2.851  val ppl 17.43  123,456 res/s  0:06:40 left"


def test_a_time_limit_may_end_the_run_sooner(clock):
    timer = Timer("00:00:01:00")
    progress = LogLines(50)
    progress.on_train_start(trainer_at(0), None)
    clock.seconds += 100
    assert "0:01:00 left" in progress.line(trainer_at(10, callbacks=[timer]))
    assert "0:01:00 left" in progress.line(trainer_at(10, max_steps=-1, callbacks=[timer]))
    assert "left" not in progress.line(trainer_at(10, max_steps=-1))


def test_one_line_of_80_columns():
    progress = MovingLine()
    out = io.StringIO()
    progress._bar.live.console = Console(file=out, width=80, force_terminal=True)
    progress.on_train_start(trainer_at(0), None)
    progress._first_step, progress._started = -1200, progress._started - 40_000
    progress.on_train_batch_end(trainer_at(1200, 1_400), None, None, None, 0)
    task = progress._bar.tasks[0]
    progress.on_train_end(trainer_at(1200), None)
    rendered = Console(width=80, file=io.StringIO())
    lines = rendered.render_lines(progress._bar.get_renderable(), pad=False)
    assert len(lines) == 1
    assert task.description == "step 1,200/1,400"
    text = "".join(segment.text for segment in lines[0])
    assert text.startswith("step 1,200/1,400 ")
    assert text.rstrip().endswith("left")
    assert len(text) <= 80


def test_without_a_terminal_there_are_lines():
    assert isinstance(make_progress(50), LogLines)


def test_a_run_says_where_and_what_it_is_then_a_line_every_so_many_steps(tmp_path, caplog):
    fasta = write_proteins(tmp_path)
    lines = "{_target_: protein_performer.training.console.make_progress, every_n_steps: 2}"
    options = ["trainer.enable_progress_bar=true", f"callbacks.progress={lines}"]
    with caplog.at_level("INFO"):
        metrics = train(compose_run(tmp_path / "run", fasta, *options, "callbacks.report=null"))
    said = [r.getMessage() for r in caplog.records if ".training." in r.name]
    parameters = f"{metrics['model/parameters']:,} parameters"
    assert said[0] == f"performer_relu, mlm: {parameters}, cpu, {tmp_path / 'run'}"
    assert [each.partition("  ")[0] for each in said[1:]] == ["step 2/6", "step 4/6", "step 6/6"]
    assert all("loss" in each and "res/s" in each for each in said[1:])


def test_no_command_is_named_for_what_is_not_used(tmp_path, capsys):
    fasta = write_proteins(tmp_path)
    train(compose_run(tmp_path / "run", fasta, "trainer.max_steps=1", "callbacks.report=null"))
    assert "wandb leet" not in capsys.readouterr().out


def test_progress_is_a_bar_to_lightning():
    assert isinstance(make_progress(50), pl.callbacks.ProgressBar)
