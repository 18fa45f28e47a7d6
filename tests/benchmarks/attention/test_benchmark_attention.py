"""`python -m benchmarks.attention`, from the command line to its files."""

import json

import pytest
import torch

from benchmarks.attention import peers
from benchmarks.attention.__main__ import main
from benchmarks.attention.mechanisms import MECHANISMS
from benchmarks.attention.sizes import QUICK

SHARES = [
    f"{direction} {name}, {QUICK.middle} positions"
    for direction in ("causal", "bidirectional")
    for name in ("FAVOR+ softmax", "FAVOR+ ReLU")
]


def test_a_quick_run_measures_everything_of_ours(tmp_path, capsys):
    figures, picture = tmp_path / "figures.json", tmp_path / "curves.png"
    threads = torch.get_num_threads()
    command = ["--quick", "--rounds", "2"]
    assert main([*command, "--json", str(figures), "--plot", str(picture)]) == 0
    assert torch.get_num_threads() == threads

    printed = capsys.readouterr().out
    result = json.loads(figures.read_text())
    names = {cell["name"] for cell in result["cells"]}
    for name, mechanism in MECHANISMS.items():
        assert (name in names) == (not mechanism.is_peer)
        assert (name in printed) == (not mechanism.is_peer)
    for cell in result["cells"]:
        assert cell["rounds"] == len(cell["seconds"])
        assert 0 < cell["low"] <= cell["median"] <= cell["high"]
    peaks = [
        peak for c in result["cells"] if c["length"] == QUICK.longest for peak in c["peak_bytes"]
    ]
    assert len(peaks) == 4
    assert min(peaks) > 0
    assert result["machine"]["threads"] == 1
    assert {"torch", "cpu", "load_average"} <= result["machine"].keys()
    assert {"causal FAVOR+ softmax, of those without attention", *SHARES} <= {
        row["what"] for row in result["figures"]
    }
    assert all(min(row["samples"]) > 0 for row in result["figures"])
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_some_contestants_can_be_measured_alone(tmp_path, capsys):
    figures = tmp_path / "figures.json"
    only = ["FAVOR+ ReLU", "FAVOR+ ReLU, bfloat16"]
    command = ["--quick", "--rounds", "1", "--json", str(figures), "--only", *only]
    assert main(command) == 0
    result = json.loads(figures.read_text())
    assert {cell["name"] for cell in result["cells"]} == {*only, "peak"}
    assert "SDPA, bfloat16" not in capsys.readouterr().out
    for names, message in (
        (["FAVOR"], "expected names among"),
        (["reformer-pytorch"], "other libraries take --peers"),
    ):
        assert main(["--quick", "--only", *names]) == 1
        assert message in capsys.readouterr().err


def test_a_missing_peer_names_the_extra(monkeypatch, capsys):
    monkeypatch.setattr(peers, "LIBRARIES", ("a_library_that_is_not_there",))
    assert main(["--quick", "--peers"]) == 1
    error = capsys.readouterr().err
    assert "a_library_that_is_not_there" in error
    assert "protein-performer[peers]" in error


@pytest.mark.parametrize("option", ["--rounds", "--threads"])
def test_numbers_below_one_are_refused(option, capsys):
    assert main([option, "0"]) == 1
    assert f"{option} 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "name", "reason"),
    [
        ("--json", "nowhere/figures.json", "existing folder"),
        ("--plot", "nowhere/curves.png", "existing folder"),
        ("--plot", "curves.docx", ".png or .pdf"),
    ],
)
def test_files_that_cannot_be_written_are_refused_before_the_run(
    option, name, reason, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("benchmarks.attention.__main__.measure", lambda *_, **__: 1 / 0)
    assert main([option, str(tmp_path / name)]) == 1
    assert reason in capsys.readouterr().err
