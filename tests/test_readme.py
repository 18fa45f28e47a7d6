"""The README is true: its Python runs, its two first commands are two; see also test_docs.py.

The Python of docs/checkpoints.md runs, too.
"""

import re

import pytest
from runs import ROOT
from tiny import tiny_config, write_checkpoint

README = (ROOT / "README.md").read_text()
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = FENCED.findall(README)
OF_USES = FENCED.findall((ROOT / "docs" / "checkpoints.md").read_text())


def test_the_first_block_is_the_two_commands_that_ci_runs():
    lines = [line for line in BLOCKS[0][1].splitlines() if line.strip()]
    assert len(lines) == 2
    assert all(line.startswith("python3 -m venv") for line in lines)
    assert "train.py model=performer_relu" in lines[0]
    assert "pytest" in lines[1]


def test_it_is_short():
    assert len(README.splitlines()) < 200


@pytest.mark.parametrize("code", [b for kind, b in [*BLOCKS, *OF_USES] if kind == "python"])
def test_its_python_runs(code, tmp_path, monkeypatch):
    write_checkpoint(tmp_path / "best.ckpt", tiny_config())
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
