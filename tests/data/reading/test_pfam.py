"""Pfam membership from flat files and from Pfam's own table."""

import gzip
import logging
import tracemalloc
from pathlib import Path

import pytest

from protein_performer.data.reading.pfam import (
    PAPER_OOD_FAMILIES,
    read_members,
    write_family_table,
)
from protein_performer.data.reading.record import ReadCounts
from protein_performer.errors import UserError

HEADER = "uniprot_acc\tseq_version\tcrc64\tmd5\tpfamA_acc\tseq_start\tseq_end\n"
WANTED = ("PF00069", "PF07714")


def region(protein: str, family: str, begin: int = 1) -> str:
    return f"{protein}\t1\t{'0' * 16}\t{'f' * 32}\t{family}\t{begin}\t{begin + 99}\n"


REGIONS = HEADER + "".join(
    [
        region("A0A001", "PF00001"),
        region("A0A001", "PF00069"),
        region("A0A001", "PF00001", 200),
        region("A0A001", "PF00069", 300),
        region("A0A001", "PF07714", 500),
        region("A0A002", "PF00002"),
        region("A0A003", "PF00069"),
    ]
)
MEMBERS = [("PF00069", "A0A001"), ("PF07714", "A0A001"), ("PF00069", "A0A003")]


def entry(protein: str, *families: str) -> str:
    refs = "".join(f"DR   Pfam; {family}; Name; 1.\n" for family in families)
    return (
        f"ID   {protein}_TEST   Unreviewed;  3 AA.\nAC   {protein};\nDE   SubName: Full=X;\n"
        f"OS   T.\n{refs}SQ   SEQUENCE   3 AA;  300 MW;  0000000000000000 CRC64;\n     MKT\n//\n"
    )


FLAT = (
    entry("A0A001", "PF00001", "PF00069", "PF07714", "PF00069")
    + entry("A0A002", "PF00002")
    + entry("A0A003", "PF00069")
)


def test_the_papers_families_are_twenty_distinct_ones() -> None:
    assert len(set(PAPER_OOD_FAMILIES)) == len(PAPER_OOD_FAMILIES) == 20


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("regions.tsv", REGIONS.encode()),
        ("regions.tsv.gz", gzip.compress(REGIONS.encode(), mtime=0)),
        ("windows.tsv", REGIONS.replace("\n", "\r\n").encode()),
        ("no_final_newline.tsv", REGIONS.rstrip("\n").encode()),
        ("entries.dat", FLAT.encode()),
        ("entries.dat.gz", gzip.compress(FLAT.encode(), mtime=0)),
    ],
)
def test_both_sources_name_the_same_members(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    counts = ReadCounts()
    assert list(read_members(tmp_path / name, WANTED, counts=counts)) == MEMBERS
    assert counts.bytes_read == len(content)


def test_memory_does_not_grow_with_the_table(tmp_path: Path) -> None:
    rows = "".join(region(f"A{n:06}", "PF00001") for n in range(20_000))
    kept = region("Z1", "PF00069")
    peaks = []
    for times in (3, 9):
        with gzip.open(tmp_path / "regions.tsv.gz", "wt", compresslevel=1) as table:
            table.write(HEADER)
            for _ in range(times):
                table.write(rows)
            table.write(kept)
        tracemalloc.start()
        assert list(read_members(tmp_path / "regions.tsv.gz", WANTED)) == [("PF00069", "Z1")]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_writes_a_table_and_tells_what_is_in_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "regions.tsv").write_text(REGIONS)
    with caplog.at_level(logging.WARNING):
        found = write_family_table(
            tmp_path / "regions.tsv", tmp_path / "out" / "families.tsv.gz", (*WANTED, "PF99999")
        )
    assert found == {"PF00069": 2, "PF07714": 1, "PF99999": 0}
    assert "no protein of PF99999" in caplog.text
    with gzip.open(tmp_path / "out" / "families.tsv.gz", "rt") as table:
        assert [tuple(line.rstrip("\n").split("\t")) for line in table] == MEMBERS


@pytest.mark.parametrize(
    ("content", "families", "message"),
    [
        (REGIONS, ("PF11111",), "no protein of any of PF11111"),
        (REGIONS, ("PF69",), "expected Pfam accessions"),
        (REGIONS, (), "expected Pfam accessions"),
        (REGIONS + "A0A004\t1\n", WANTED, r"line 9: expected at least 5 columns .*A0A004"),
        (REGIONS.replace("uniprot_acc", "what"), WANTED, "line 1: expected a column uniprot_acc"),
        (">A0A001\nMKT\n", WANTED, "FASTA does not state Pfam families"),
        ("hello\n", WANTED, "expected FASTA"),
        ("", WANTED, "empty file"),
    ],
)
def test_refuses_what_states_no_families(
    tmp_path: Path, content: str, families: tuple[str, ...], message: str
) -> None:
    (tmp_path / "source").write_text(content)
    with pytest.raises(UserError, match=message):
        write_family_table(tmp_path / "source", tmp_path / "families.tsv", families)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_takes_one_source_at_a_time(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text(REGIONS)
    with pytest.raises(UserError, match="expected one source of families, got 2"):
        read_members(tmp_path / "[ab]")
