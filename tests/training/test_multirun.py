import json
import os
import subprocess
import sys

from runs import ROOT, SMALL, write_proteins
from secrets_of import ADDRESS, leaks


def test_a_sweep_is_one_group_with_a_run_folder_and_a_wandb_run_for_each_job(tmp_path):
    fasta = write_proteins(tmp_path / "data")
    options = [each for each in SMALL if each != "logger=csv"]
    command = [
        *(sys.executable, "train.py", "-m", "model=performer_relu,transformer", "objective=mlm"),
        *options,
        f"data.sources=[{fasta}]",
        f"hydra.sweep.dir={tmp_path / 'sweep'}",
        f"logger.wandb.save_dir={tmp_path / 'logs'}",
        "trainer.max_steps=2",
    ]
    # No account, no key: wandb must not ask for one.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    environment |= {"HOME": str(tmp_path), "COLUMNS": "160"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "wandb: WARNING" not in done.stdout + done.stderr

    folders = sorted(path.parent for path in (tmp_path / "sweep").glob("*/metrics.json"))
    names = [json.loads((path / "metrics.json").read_text())["model/name"] for path in folders]
    assert names == ["performer_relu", "transformer"]
    for folder, name in zip(folders, names, strict=True):
        assert f"name: {name}" in (folder / "config.yaml").read_text()

    assert "2 runs" in done.stdout  # the comparison
    assert "protein-performer compare" in done.stdout

    runs = sorted((tmp_path / "logs" / "wandb").glob("offline-run-*"))
    assert len(runs) == 2
    told = [inspect(run) for run in runs]
    for name in names:
        assert sum(f"{name}-mlm-seed0" in each for each in told) == 1
    for each in told:
        assert "test/perplexity" in each
        assert "test/confusion" in each


def inspect(run):
    """What wandb's own reader finds in an offline run."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", str(run)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


SWEEP = (
    *("model=performer_relu,linformer", "objective=causal"),
    *("trainer.max_steps=4", "callbacks.finite.batches=2", "callbacks.report=null"),
    f"tags=['{ADDRESS}']",
)


def sweep(tmp_path, fasta, *options):
    command = [
        *(sys.executable, "train.py", "-m", *SMALL, *SWEEP, f"data.sources=[{fasta}]"),
        *(f"hydra.sweep.dir={tmp_path / 'sweep'}", *options),
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def states(tmp_path):
    found = sorted((tmp_path / "sweep").glob("*/status.json"))
    return [json.loads(path.read_text())["state"] for path in found]


def test_a_run_that_cannot_be_or_fails_does_not_end_the_sweep(tmp_path):
    """Both are named with their reason; what finished is not run again."""
    fasta = write_proteins(tmp_path / "data")
    done = sweep(tmp_path, fasta, "optimizer.lr=0.002,1e20")
    assert done.returncode == 1
    assert states(tmp_path) == ["finished", "failed", "skipped", "skipped"]
    table = done.stdout[done.stdout.index("4 runs") :]
    for text in (
        "optimizer.lr",
        "1e+20",
        "3_linformer-causal-seed0",
        "linformer has no causal form",
    ):
        assert text in table
    assert "training diverged" in table
    assert "3 of 4 runs did not finish" in done.stderr
    assert "report.html" in table
    assert "linformer has no causal form" in (tmp_path / "sweep" / "report.html").read_text()
    assert leaks(tmp_path / "sweep") == []

    results = tmp_path / "sweep" / "0_performer_relu-causal-seed0" / "metrics.json"
    before = results.stat().st_mtime_ns
    (results.parents[1] / "1_performer_relu-causal-seed0" / "status.json").unlink()
    again = sweep(tmp_path, fasta, "optimizer.lr=0.002,0.001")
    assert "finished before, not run again" in again.stdout
    assert results.stat().st_mtime_ns == before
    assert states(tmp_path) == ["finished", "finished", "skipped", "skipped"]
