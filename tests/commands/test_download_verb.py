"""`protein-performer download` and `families`, as a person types them."""

import gzip
import json
from pathlib import Path

import pytest

from protein_performer import cli
from protein_performer.data.fetching import uniprot_query

REGIONS = (
    "uniprot_acc\tseq_version\tcrc64\tmd5\tpfamA_acc\tseq_start\tseq_end\n"
    "A0A001\t1\tc\tm\tPF18369\t1\t9\nA0A002\t1\tc\tm\tPF00069\t1\t9\n"
)


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path, str | None]]:
    """What was asked for; nothing is fetched but a few bytes written."""
    asked = []

    def release(name: str, folder: Path, *, format: str, source: str | None) -> Path:
        asked.append((f"{name}.{format}", folder, source))
        folder.mkdir()
        (folder / "f.gz").write_bytes(b"12345")
        return folder / "f.gz"

    def query(text: str, target: Path, *, service: str) -> Path:
        asked.append((text, target, service))
        target.write_bytes(b"123")
        return target

    monkeypatch.setattr("protein_performer.commands.download.download_release", release)
    monkeypatch.setattr("protein_performer.commands.download.download_query", query)
    return asked


def test_download_tells_a_release_from_a_query(
    tmp_path: Path, fetched: list[tuple[str, Path, str | None]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, file, figures = tmp_path / "swissprot", tmp_path / "q.fasta", tmp_path / "figures.json"
    assert cli.main(["download", "swissprot", str(folder), "--format", "dat"]) == 0
    assert cli.main(["download", "organism_id:9606", str(file), "--json", str(figures)]) == 0
    mirror = ["--source", "https://mirror.example"]
    assert cli.main(["download", "trembl", str(tmp_path / "trembl"), *mirror]) == 0
    assert fetched == [
        ("swissprot.dat", folder, None),
        ("organism_id:9606", file, uniprot_query.REST),
        ("trembl.fasta", tmp_path / "trembl", "https://mirror.example"),
    ]
    assert "5 bytes" in capsys.readouterr().out
    assert json.loads(figures.read_text()) == {"path": str(file), "bytes": 3}


def test_download_refuses_flat_files_of_a_query(
    tmp_path: Path, fetched: list[tuple[str, Path, str | None]], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["download", "organism_id:9606", str(tmp_path / "q.dat"), "--format", "dat"]
    assert cli.main(command) == 1
    assert "queries are FASTA" in capsys.readouterr().err
    assert fetched == []


def test_families_writes_the_papers_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "regions.tsv").write_text(REGIONS)
    table, figures = tmp_path / "ood.tsv.gz", tmp_path / "figures.json"
    command = ["families", str(tmp_path / "regions.tsv"), str(table)]
    assert cli.main([*command, "--json", str(figures)]) == 0
    assert gzip.decompress(table.read_bytes()) == b"PF18369\tA0A001\n"
    assert json.loads(figures.read_text())["proteins"]["PF18369"] == 1
    assert cli.main([*command, "--family", "PF00069"]) == 0
    assert gzip.decompress(table.read_bytes()) == b"PF00069\tA0A002\n"
    assert cli.main([*command, "--family", "kinase"]) == 1
    assert "expected Pfam accessions" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["download", "families"])
def test_help_shows_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main([verb, "--help"])
    assert left.value.code == 0
    assert f"protein-performer {verb} " in capsys.readouterr().out
