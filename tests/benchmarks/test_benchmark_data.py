"""`python -m benchmarks.data`, from the command line to its files."""

import json
import sys
from pathlib import Path

import pytest
from runs import ROOT, SAMPLE, compose_run

from benchmarks.data import measure as data_measure
from benchmarks.data.__main__ import main
from benchmarks.data.loading import RUN_MODEL, RUN_TOKENS
from benchmarks.data.reading import codecs, inflate
from benchmarks.fresh_process import measured


@pytest.fixture
def in_this_process(monkeypatch):
    """Starting nine processes that import PyTorch would take longer than all they do."""
    monkeypatch.setattr(
        data_measure, "in_fresh_process", lambda task, *args, cores=1: measured(task, *args)
    )


@pytest.mark.usefixtures("in_this_process")
def test_a_quick_run_measures_everything(tmp_path, capsys):
    made, path = tmp_path / "made", tmp_path / "figures.json"
    made.mkdir()
    command = ["--quick", "--rounds", "2", "--source", str(SAMPLE)]
    assert main([*command, "--folder", str(made), "--json", str(path)]) == 0
    figures = json.loads(path.read_text())
    assert figures["codecs"] == codecs()
    for reading in figures["readings"]:
        assert reading["megabytes"] == pytest.approx(2, rel=0.01)
        assert reading["seconds"] > 0
    done = [(reading["what"], reading["with"]) for reading in figures["readings"]]
    assert all(done.count(each) == 2 for each in done)
    assert {("gzip + Biopython", "zlib"), ("1 core", "zlib"), ("inflate", "zlib")} <= set(done)
    assert {(row["what"], row["source"]) for row in figures["memory"]} == {
        (what, size) for what in ("prepare", "loader") for size in ("small", "large")
    }
    assert {row["what"].split(",")[0] for row in figures["batches"]} == set(figures["padding"])
    assert all(row["sequences"] > 0 for row in figures["batches"])
    assert len(figures["loader_and_step_seconds"]) == 2
    assert figures["start"]["proteins"] == 2**18
    assert all(row["measured"] is not None for row in figures["targets"] if "2 cores" not in row)
    printed = capsys.readouterr()
    assert "gzip + Biopython" in printed.out
    assert "targets" not in printed.out  # tiny sizes, no verdicts
    assert "making 2 MB of FASTA" in printed.err
    left = sorted(each.suffix for each in made.iterdir())
    assert left == [".gz", ".gz", ".json", ".json"]  # what was made is found again


def test_the_model_of_the_default_run_is_that_of_the_config(tmp_path):
    config = compose_run(tmp_path, SAMPLE, "size=small", "data.batch_tokens=4096")
    model = {key: config.model[key] for key in RUN_MODEL}
    assert model == RUN_MODEL
    default = (ROOT / "conf" / "data" / "sample.yaml").read_text()
    assert f"batch_tokens: {RUN_TOKENS} " in default


def test_zlib_is_used_where_it_is_asked_for_and_isal_is_back_afterwards(monkeypatch):
    import zlib

    from protein_performer.data.reading import compression

    used, original = [], compression.inflater
    monkeypatch.setattr(compression, "inflater", lambda: used.append(original()) or used[-1])
    before = sys.modules.get("isal")
    sizes = [inflate(Path(SAMPLE), codec) for codec in ("zlib", *codecs())]
    assert used[0] is zlib
    assert used[1] is original()
    assert len(set(sizes)) == 1
    assert sys.modules.get("isal", before) is not None or before is None


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--rounds", "0"], "--rounds 0"),
        (["--gigabytes", "0"], "--gigabytes 0"),
        (["--gigabytes", "9000000"], "GB of free disk"),
        (["--folder", "nowhere"], "existing folder"),
        (["--json", "nowhere/figures.json"], "existing folder"),
        (["--source", "nowhere.fasta"], "no such file"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_run(options, reason, capsys, monkeypatch):
    monkeypatch.setattr("benchmarks.data.__main__.measure_data", lambda *_, **__: 1 / 0)
    assert main(["--source", str(SAMPLE), *options]) == 1
    assert reason in capsys.readouterr().err
