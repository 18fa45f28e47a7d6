"""`protein-performer prepare`, as a person types it."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from protein_performer import cli


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
    shares = ["--split-valid", "0.1", "--split-test", "0.1"]
    assert cli.main([*command, *shares, "--json", str(tmp_path / "figures.json")]) == 0
    return tmp_path


def test_prepare_tells_what_it_did(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shares = ["--split-valid", "0.1", "--split-test", "0.1", "--workers", "1"]
    assert cli.main(["prepare", str(prepared / "p.fasta.gz"), str(prepared / "b"), *shares]) == 0
    figures = json.loads((prepared / "figures.json").read_text())
    assert sum(split["proteins"] for split in figures["splits"].values()) == 300
    assert figures["leaks"] == 0
    assert figures["definition"]["splits"]["test"] == 0.1
    assert "300 records read" in capsys.readouterr().out


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
    assert f"{name}: its checksum" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [("by_length.npy", "no permutation"), ("length_counts.npy", "does not count the lengths")],
)
def test_verify_names_a_wrong_index(
    prepared: Path, name: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = prepared / "out" / "train" / name
    index = np.load(path)
    index[-1] = index[0]
    np.save(path, index)
    assert cli.main(["prepare", "--verify", str(prepared / "out")]) == 1
    assert message in capsys.readouterr().err


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
