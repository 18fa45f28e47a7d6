"""The README is true: its Python runs, its commands compose, its two first commands are two."""

import re
import shlex

import pytest
from hydra import compose, initialize_config_dir
from runs import ROOT
from tiny import tiny_config, write_checkpoint

from protein_performer.cli import VERBS

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.split(" #")[0].strip()
    for kind, block in BLOCKS
    if kind in ("", "sh", "bash")
    for line in block.splitlines()
]


def test_the_first_block_is_the_two_commands_that_ci_runs():
    lines = [line for line in BLOCKS[0][1].splitlines() if line.strip()]
    assert len(lines) == 2
    assert all(line.startswith("python3 -m venv") for line in lines)
    assert "train.py model=performer_relu" in lines[0]
    assert "pytest" in lines[1]


def test_it_is_short():
    assert len(README.splitlines()) < 200


@pytest.mark.parametrize("code", [block for kind, block in BLOCKS if kind == "python"])
def test_its_python_runs(code, tmp_path, monkeypatch):
    write_checkpoint(tmp_path / "best.ckpt", tiny_config())
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})


@pytest.mark.parametrize(
    "command", [line for line in COMMANDS if re.match(r"(\S*python )?train\.py ", line)]
)
def test_its_training_commands_compose(command):
    words = shlex.split(command)
    overrides = [word for word in words[words.index("train.py") + 1 :] if not word.startswith("-")]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        for jobs in zip(*(_choices(word) for word in overrides), strict=False):
            assert compose("train", ["run_dir=here", *_but_hydras(jobs)])


def test_its_verbs_exist():
    verbs = {line.split()[1] for line in COMMANDS if line.startswith("protein-performer ")}
    assert verbs
    assert verbs <= set(VERBS)


def _choices(word):
    key, _, values = word.partition("=")
    return [f"{key}={value}" for value in values.split(",")] * 6


def _but_hydras(overrides):
    return [each for each in overrides if not each.startswith("hydra.")]
