"""`protein-performer prepare`, as a person types it."""

import errno
import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from protein_performer import cli
from protein_performer.data.manifest import open_split, read_manifest, verify
from protein_performer.data.preparing.appended_file import AppendedFile


def write(path: Path, count: int = 300) -> Path:
    lots = np.random.default_rng(0)
    letters = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
    records = [f">tr|A{i:05}|X\n{''.join(lots.choice(letters, 30))}\n" for i in range(count)]
    path.write_bytes(gzip.compress("".join(records).encode()))
    return path


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    source = write(tmp_path / "p.fasta.gz")
    command = ["prepare", str(source), str(tmp_path / "out"), "--workers", "0"]
    shares = ["--split-val", "0.1", "--split-test", "0.1"]
    assert cli.main([*command, *shares, "--json", str(tmp_path / "figures.json")]) == 0
    return tmp_path


def test_prepare_tells_what_it_did(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shares = ["--split-val", "0.1", "--split-test", "0.1", "--workers", "1"]
    assert cli.main(["prepare", str(prepared / "p.fasta.gz"), str(prepared / "b"), *shares]) == 0
    figures = json.loads((prepared / "figures.json").read_text())
    assert figures["all"]["lengths"]["proteins"] == 300
    assert figures["definition"]["splits"]["test"] == 0.1
    assert "300 records read" in capsys.readouterr().out


def test_the_report_counts_what_became_of_the_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Compared with counts of the records themselves, split by split."""
    lots = np.random.default_rng(1)
    records = {f"P{i}": "".join(lots.choice(list("ACDEFGHIKL"), 5 + i)) for i in range(60)}
    odd = {"L1": "mkta", "R1": "MKUX", "S1": "MK*T", "E1": "**", "C1": records["P9"]}
    text = "".join(f">{name}\n{each}\n" for name, each in {**records, **odd}.items())
    (tmp_path / "p.fasta").write_text(text + ">H1\n")
    out, figures = tmp_path / "out", tmp_path / "figures.json"
    command = ["prepare", str(tmp_path / "p.fasta"), str(out), "--workers", "0"]
    shares = ["--split-val", "0.2", "--split-test", "0.2", "--residue-policy", "skip"]
    assert cli.main([*command, *shares, "--json", str(figures)]) == 0
    report = json.loads((out / "report.json").read_text())
    assert json.loads(figures.read_text()).items() >= report.items()
    assert (report["read"]["records"], report["read"]["empty"], report["emptied"]) == (65, 1, 1)
    kept = {**records, "L1": "MKTA", "R1": "MKUX", "S1": "MKT"}
    where: dict[str, list[str]] = {name: [] for name in report["splits"]}
    for name, found in where.items():
        split = open_split(out, read_manifest(out), name)
        found += [kept[split.accession(int(i))] for i in split.by_length()]
    where["all"] = [each for found in where.values() for each in found]
    assert sorted(where["all"]) == sorted(kept.values())
    for name, found in where.items():
        told = report["all"] if name == "all" else report["splits"][name]
        if not found:
            assert told["lengths"] is None
            continue
        lengths = np.array([len(each) for each in found])
        assert told["lengths"] == pytest.approx(
            {
                **{"proteins": len(found), "min": lengths.min(), "max": lengths.max()},
                **{"mean": lengths.mean(), "std": lengths.std(), "median": np.median(lengths)},
            }
        )
        joined = "".join(found)
        assert told["residues"] == len(joined)
        for letter, share in told["residue_shares"].items():
            assert share == pytest.approx(joined.count(letter) / len(joined))
    everywhere = report["all"]
    assert (everywhere["lower_case"], everywhere["rare"], everywhere["skipped"]) == (4, 2, 3)
    assert (everywhere["duplicates"], everywhere["copies_across_splits"]) == (1, 0)
    printed = capsys.readouterr().out
    assert "65 records read" in printed
    assert re.search(r"paper, train +104,863,744 +2 +74,488 +353.09 +311.16 +289", printed)
    assert f"python train.py data.prepared={out}" in printed


def test_the_report_is_the_same_whenever_it_is_made(prepared: Path) -> None:
    """Also when it is lost, and beside another picture."""
    out = prepared / "out"
    command = ["prepare", str(prepared / "p.fasta.gz"), str(out), "--workers", "0"]
    command += ["--split-val", "0.1", "--split-test", "0.1"]
    before = {name: (out / name).read_bytes() for name in ("report.json", "report.png")}
    assert before["report.png"].startswith(b"\x89PNG")
    for name in before:
        (out / name).unlink()
    assert cli.main([*command, "--plot", str(prepared / "mine.png")]) == 0
    assert (prepared / "mine.png").read_bytes() == before["report.png"]
    assert not (out / "report.png").exists()
    (out / ".report.png.0123.partial").write_text("of a killed process")
    (out / "report.json").write_text('{"truncated')
    assert cli.main(command) == 0
    assert {name: (out / name).read_bytes() for name in before} == before
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_the_same_command_many_times_at_once_makes_one_folder(tmp_path: Path) -> None:
    source = write(tmp_path / "p.fasta.gz")
    command = [sys.executable, "-m", "protein_performer.cli", "prepare", str(source)]
    runs = [subprocess.Popen([*command, str(tmp_path / "out"), "--workers", "0"]) for _ in range(3)]
    assert [run.wait() for run in runs] == [0, 0, 0]
    assert cli.main([*command[3:], str(tmp_path / "alone"), "--workers", "0"]) == 0
    alone, out = (
        {path.relative_to(top): path.read_bytes() for path in top.rglob("*") if path.is_file()}
        for top in (tmp_path / "alone", tmp_path / "out")
    )
    assert alone == out
    assert verify(tmp_path / "out").proteins == 300
    assert {"report.json", "report.png"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert not list(tmp_path.glob("**/*.partial"))


@pytest.mark.parametrize("place", ["missing", "file", "unwritable"])
def test_a_folder_that_cannot_be_written_is_one_line(
    tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "p.fasta.gz")
    out = tmp_path / "place" / "out"
    if place == "file":
        out.parent.write_text("")
    if place == "unwritable":  # a superuser may write everywhere

        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(AppendedFile, "write", refuse)
    code = cli.main(["prepare", str(source), str(out), "--workers", "0"])
    assert code == (0 if place == "missing" else 1)
    printed = capsys.readouterr().err
    assert ("cannot be written there" in printed) == (place != "missing")
    assert "Traceback" not in printed


def test_verify_finds_nothing_wrong(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["prepare", "--verify", str(prepared / "out")]) == 0
    assert "whole. 300 proteins, 9,000 residues" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["00000.tokens", "00000.offsets", "00000.accessions"])
def test_verify_names_a_changed_file(
    prepared: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = prepared / "out" / "train" / name
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(bytes(content))
    assert cli.main(["prepare", "--verify", str(prepared / "out")]) == 1
    assert f"{name}: damaged (its checksum" in capsys.readouterr().err


def test_prepare_refuses_what_makes_no_sense(
    prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(prepared / "p.fasta.gz")
    assert cli.main(["prepare", source]) == 1
    assert cli.main(["prepare", "--verify", source, str(prepared / "out")]) == 1
    assert cli.main(["prepare", source, str(prepared / "out"), "--workers", "0"]) == 1
    assert "prepared otherwise" in capsys.readouterr().err
    families = ["--split-families", "paper", "--workers", "0"]
    assert cli.main(["prepare", source, str(prepared / "other"), *families]) == 1
    assert "FASTA states no Pfam families" in capsys.readouterr().err


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["prepare", "--help"])
    assert "protein-performer prepare --verify" in capsys.readouterr().out
