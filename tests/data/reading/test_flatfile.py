"""Swiss-Prot and TrEMBL flat files, the curators' lines and broken entries included."""

import gzip
import random
from pathlib import Path

import pytest

from protein_performer.data.reading import text_blocks
from protein_performer.data.reading.columns import parse_columns, parse_records
from protein_performer.data.reading.reader import read_records
from protein_performer.data.reading.record import ReadCounts, Record
from protein_performer.data.reading.text_blocks import cut_blocks
from protein_performer.errors import UserError

ENTRY = """\
ID   KIN1_TEST               Reviewed;          12 AA.
AC   P00001; Q00001;
DT   01-JAN-2000, integrated into UniProtKB/Swiss-Prot.
DE   RecName: Full=Test kinase {ECO:0000255};
DE            EC=2.7.11.1;
GN   Name=kin1;
OS   Testus exampli (Tester).
OX   NCBI_TaxID=1;
RN   [1]
RP   NUCLEOTIDE SEQUENCE.
CC   -!- FUNCTION: Pfam; PF99999; is not named here.
**
**   #################    INTERNAL SECTION    ##################
**EV ECO:0000259; Pfam:PF88888; -; 27-SEP-2016.
DR   Pfam; PF00069; Pkinase; 1.
DR   PROSITE; PS50011; PROTEIN_KINASE_DOM; 1.
DR   Pfam; PF07714; PK_Tyr_Ser-Thr; 2.
PE   1: Evidence at protein level;
FT   CHAIN           1..12
SQ   SEQUENCE   12 AA;  1400 MW;  0000000000000000 CRC64;
     MKTAYIAKQR QI
//
"""
SECOND = """\
ID   A0A1_TEST               Unreviewed;        15 AA.
AC   A0A000TEST1;
DE   SubName: Full=Uncharacterized protein;
OS   Testus exampli.
SQ   SEQUENCE   15 AA;  1400 MW;  0000000000000000 CRC64;
     ACDEFGHIKL MNPQR
//
"""
RECORDS = [
    Record(
        "P00001", "Test kinase OS=Testus exampli (Tester)", "MKTAYIAKQRQI", ("PF00069", "PF07714")
    ),
    Record("A0A000TEST1", "Uncharacterized protein OS=Testus exampli", "ACDEFGHIKLMNPQR"),
]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ((ENTRY + SECOND).encode(), "two.dat"),
        (gzip.compress((ENTRY + SECOND).encode(), mtime=0), "two.dat.gz"),
        ((ENTRY + SECOND).replace("\n", "\r\n").encode(), "windows.dat"),
        ((ENTRY + SECOND).rstrip("\n").encode(), "no_final_newline.dat"),
        (f"\n{ENTRY}\n\n{SECOND}\n\n".encode(), "blank_lines_between.dat"),
    ],
)
def test_reads_entries_with_their_families(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    counts = ReadCounts()
    assert list(read_records(tmp_path / name, counts=counts)) == RECORDS
    assert (counts.records, counts.residues, counts.warnings()) == (2, 27, [])


def test_blocks_hold_whole_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_blocks, "_AT_LEAST", 10)
    content = (ENTRY + SECOND).encode() * 3
    for size in (1, 5, 100, 1000, 10_000):
        chunks = (content[at : at + size] for at in range(0, len(content), size))
        cut = list(cut_blocks(chunks, "f.dat"))
        columns = [parse_columns(block, ReadCounts()) for block in cut]
        assert b"".join(block.text for block in cut) == content
        assert all(block.text.endswith(b"\n//\n") for block in cut)
        assert [name for each in columns for name in each.accessions] == [
            "P00001",
            "A0A000TEST1",
        ] * 3
        families = [of_one for each in columns for of_one in each.families or []]
        assert families == [("PF00069", "PF07714"), ()] * 3
        assert b"".join(each.residues for each in columns) == b"MKTAYIAKQRQIACDEFGHIKLMNPQR" * 3
        if size == 100:
            assert len(cut) > 3
            assert cut[-1].first_line == 1 + content.count(b"\n") - cut[-1].text.count(b"\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ENTRY + SECOND[:-3], "entry at line 23: expected '//' at the end.*truncated"),
        (ENTRY + SECOND[:-30], "entry at line 23"),
        (ENTRY.replace("AC   P00001; Q00001;\n", ""), "entry at line 1: .*without AC line"),
        (
            ENTRY.replace("     MKTAYIAKQR QI\n", "     MKTAYIAKQR\n"),
            "12 residues stated, 10 found",
        ),
        (ENTRY + "hello\n" + SECOND, "entry at line 23: .*Biopython cannot read.*'hello"),
        (ENTRY + ">P1 fasta\nMKT\n//\n", "entry at line 23"),
        (ENTRY.replace("SQ   SEQUENCE   12 AA;  1400 MW;  0000000000000000 CRC64;\n", ""), "no SQ"),
        (ENTRY.replace("SQ   SEQUENCE   12 AA;", "SQ   SEQUENCE   twelve AA;"), "cannot read"),
    ],
)
def test_refuses_broken_entries(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "bad.dat").write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        list(read_records(tmp_path / "bad.dat"))
    assert str(caught.value).startswith(str(tmp_path / "bad.dat"))


def test_counts_entries_without_sequence(tmp_path: Path) -> None:
    empty = SECOND.replace("     ACDEFGHIKL MNPQR\n", "").replace("15 AA;  ", "0 AA;  ")
    (tmp_path / "empty.dat").write_text(empty + ENTRY)
    counts = ReadCounts()
    assert list(read_records(tmp_path / "empty.dat", counts=counts)) == RECORDS[:1]
    assert counts.empty == 1
    assert "line 1 (A0A000TEST1)" in counts.warnings()[0]


def test_mutated_entries_are_read_or_refused() -> None:
    pieces = [b"", b"\n", b"//\n", b"ID   ", b";", b"AC   \n", b"SQ   \n", b"\nDR   Pfam; \n"]
    pieces += [b"\0", b"\xe9", b"  ", b"\nDE   Full=\n", b"\nOS\n", b"AA"]
    content = (ENTRY + SECOND).encode()
    refused = 0
    for seed in range(1000):
        rng = random.Random(seed)
        at = rng.randrange(len(content))
        mutated = content[:at] + rng.choice(pieces) + content[at + rng.choice([0, 1, 5, 40]) :]
        counts = ReadCounts()
        try:
            records = [
                record
                for block in cut_blocks(iter([mutated]), "f.dat")
                for record in parse_records(block, counts)
            ]
        except UserError:
            refused += 1
            continue
        assert len(records) + counts.empty == counts.records + counts.empty == 2, f"seed {seed}"
    assert 100 < refused < 900
