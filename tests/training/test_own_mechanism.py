"""A mechanism in a package of the user's own, trained by train.py and used from its checkpoint."""

import os
import subprocess
import sys

import pytest
from runs import ROOT, SMALL, write_proteins

import protein_performer as pp
from protein_performer.errors import UserError

LAB = ROOT / "tests" / "my_lab"


def run_train(tmp_path, *overrides):
    fasta = write_proteins(tmp_path)
    command = [
        *(sys.executable, ROOT / "train.py", "--config-dir", LAB / "conf"),
        *("model=mean_of_past", *SMALL, f"data.sources=[{fasta}]", "trainer.max_steps=2"),
        f"hydra.run.dir={tmp_path / 'run'}",
        *overrides,
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(LAB.parent), str(ROOT)])}
    return subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )


def test_it_trains_when_its_package_is_trusted(tmp_path):
    done = run_train(tmp_path, "trusted_packages=[my_lab]")
    assert done.returncode == 0, done.stderr[-2000:]
    run = tmp_path / "run"
    with pytest.raises(UserError, match="--trust my_lab"):
        pp.load(run, device="cpu")
    lm = pp.load(run, device="cpu", trusted_packages=["my_lab"])
    assert lm.checkpoint.model_config.attention.options == {"gain": 2.0}
    assert lm.embed("MKT").shape == (1, 64)


def test_without_trust_nothing_of_it_is_imported(tmp_path):
    done = run_train(tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: model.attention._target_: expected the attention")
    assert "trusted_packages=[my_lab]" in done.stderr
    assert "Traceback" not in done.stderr
