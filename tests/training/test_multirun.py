import json
import os
import subprocess
import sys

from runs import ROOT, SMALL, write_proteins


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
