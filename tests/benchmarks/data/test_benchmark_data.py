"""`python -m benchmarks.data`, from the command line to its files."""

import json
import zlib
from pathlib import Path

import pytest
from isal import isal_zlib
from runs import ROOT, SAMPLE, compose_run

from benchmarks.data import measure as data_measure
from benchmarks.data.__main__ import main
from benchmarks.data.loading import CONTEXTS, RUN_MODEL, RUN_TOKENS
from benchmarks.data.measure import INFLATE, ONE_CORE, cores
from benchmarks.data.reading import codecs, inflate
from benchmarks.fresh_process import measured
from protein_performer.data.reading import compression


@pytest.fixture
def in_this_process(monkeypatch):
    """Starting nine processes that import PyTorch would take longer than all they do."""
    monkeypatch.setattr(
        data_measure, "in_fresh_process", lambda task, *args, cores: measured(task, *args)
    )


@pytest.mark.usefixtures("in_this_process")
def test_a_quick_run_measures_everything(tmp_path, capsys):
    made, path = tmp_path / "made", tmp_path / "figures.json"
    made.mkdir()
    command = ["--quick", "--rounds", "2", "--source", str(SAMPLE)]
    assert main([*command, "--folder", str(made), "--json", str(path)]) == 0
    figures = json.loads(path.read_text())["figures"]
    rows = {row["what"]: row for row in figures}
    assert len(rows) == len(figures)
    two_cores = [f"to shards, 2 cores, {codec}" for codec in codecs()] if cores() > 1 else []
    timed = ["gzip + Biopython", *two_cores]
    timed += [f"{what}, {codec}" for what in (INFLATE, ONE_CORE) for codec in codecs()]
    assert {row["what"] for row in figures if row["unit"] == "MB/s of text"} == {
        each for what in timed for each in (what, f"{what}, by CPU time")
    }
    assert all(len(rows[what]["samples"]) == 2 for what in timed)
    assert all(row["low"] > 0 for row in figures if not row["what"].endswith("padding"))
    for what in ("prepare", "loader"):
        assert rows[f"{what}: large source over small one"]["median"] < 1.5
    for context in CONTEXTS:
        assert f"{context}, 16384 tokens" in rows
        assert 0 <= rows[f"{context}: padding"]["median"] < 50
    assert len(rows["the loader's share of a training step"]["samples"]) == 2
    assert f"{2**18:,} proteins, to the first batch" in rows
    printed = capsys.readouterr()
    assert "gzip + Biopython" in printed.out
    assert "making 2 MB of FASTA" in printed.err
    left = sorted(each.suffix for each in made.iterdir())
    assert left == [".gz", ".gz", ".json", ".json"]  # what was made is found again


def test_the_model_of_the_default_run_is_that_of_the_config(tmp_path):
    config = compose_run(tmp_path, SAMPLE, "size=small", "data.batch_tokens=4096")
    model = {key: config.model[key] for key in RUN_MODEL}
    assert model == RUN_MODEL
    default = (ROOT / "conf" / "data" / "sample.yaml").read_text()
    assert f"batch_tokens: {RUN_TOKENS} " in default


def test_each_codec_is_used_where_it_is_asked_for(monkeypatch):
    """The test extra brings isal, without which there is nothing to choose from."""
    assert codecs() == ["isal", "zlib"]
    used, original = [], compression.inflater
    monkeypatch.setattr(compression, "inflater", lambda: used.append(original()) or used[-1])
    sizes = [inflate(Path(SAMPLE), codec) for codec in ("zlib", "isal", "zlib")]
    assert used == [zlib, isal_zlib, zlib]
    assert compression.inflater() is isal_zlib
    assert len(set(sizes)) == 1


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
    monkeypatch.setattr("benchmarks.data.__main__.Measurement", lambda *_, **__: 1 / 0)
    assert main(["--source", str(SAMPLE), *options]) == 1
    assert reason in capsys.readouterr().err
