"""The door to files: what each kind of good and bad file gives."""

import gzip
import logging
from functools import partial
from pathlib import Path

import pytest

from protein_performer.data.reading.reader import read_records
from protein_performer.data.reading.record import ReadCounts, Record
from protein_performer.errors import UserError

# Named by their bytes, tests are the same in every process: a header has no time.
packed = partial(gzip.compress, mtime=0)
GOOD = b">sp|P12345|ONE_TEST First protein OS=Test\nMKTAY\nIAK\n>two\nACDEF\n"
RECORDS = [
    Record("P12345", "First protein OS=Test", "MKTAYIAK"),
    Record("two", "", "ACDEF"),
]


def read(path: Path, content: bytes) -> tuple[list[Record], ReadCounts]:
    path.write_bytes(content)
    counts = ReadCounts()
    return list(read_records(path, counts=counts)), counts


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (GOOD, "plain.fasta"),
        (GOOD.rstrip(b"\n"), "no_final_newline.fasta"),
        (b"\n \n" + GOOD, "blank_lines_first.fasta"),
        (GOOD.replace(b"\n", b"\n\n"), "blank_lines_between.fasta"),
        (GOOD.replace(b"\n", b"\r\n"), "windows.fasta"),
        (GOOD.replace(b"\n", b"\r"), "old_mac.fasta"),
        (packed(GOOD), "one_member.fasta.gz"),
        (packed(GOOD), "gzip_without_the_name.fasta"),
        (packed(GOOD[:30]) + packed(GOOD[30:]), "two_members.fasta.gz"),
        (packed(GOOD) + bytes(512), "zero_padding.fasta.gz"),
        (b"".join(packed(bytes([byte])) for byte in GOOD), "member_a_byte.fasta.gz"),
    ],
)
def test_reads_every_form_of_the_same_records(tmp_path: Path, content: bytes, name: str) -> None:
    records, counts = read(tmp_path / name, content)
    assert records == RECORDS
    assert (counts.files, counts.records, counts.residues) == (1, 2, 13)
    assert counts.bytes_read == len(content)
    assert counts.warnings() == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (b"\n  \n", "empty file"),
        (packed(b""), "empty file"),
        (b"hello\n" + GOOD, r"line 1: expected FASTA.*'hello'.*Remove the text"),
        (b"\n\nhello\n" + GOOD, "line 3: expected FASTA"),
        (b"  " + GOOD, "line 1: expected FASTA"),
        (b"@read1\nACGT\n+\nIIII\n", "FASTQ"),
        (b"<html><body>503</body></html>", "HTML"),
        (b"\xef\xbb\xbf" + GOOD, "byte order mark"),
        (GOOD.decode().encode("utf-16"), "NUL bytes"),
        (GOOD.replace(b"MKT", b"M\0T"), "line 2: expected residues.*NUL"),
        (GOOD.replace(b"First", b"F\0rst"), "line 1: expected a header.*NUL"),
        (GOOD.replace(b"IAK\n", b"IAK"), "line 3: expected residues, got '>' inside"),
        (GOOD + b"@read1\nACGT\n+\nII>I\n", "line 9: expected residues, got '>' .*FASTQ"),
        (GOOD.replace(b">two", b">"), "line 4: expected an accession"),
        (GOOD.replace(b">two", b">  "), "line 4: expected an accession"),
        (packed(GOOD)[:-9], "truncated"),
        (packed(GOOD)[:-2], "truncated"),
        (packed(GOOD)[:-8] + bytes(8), "corrupt"),
        (packed(GOOD)[:12] + b"\xff\xff" + packed(GOOD)[14:], "corrupt"),
        (packed(GOOD) + b"junk after the member", "after 1 whole member"),
        (b"PK\x03\x04 a zip archive", ".zip"),
    ],
)
def test_refuses_what_cannot_be_read_without_guessing(
    tmp_path: Path, content: bytes, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path / "bad.fasta", content)
    assert str(caught.value).startswith(str(tmp_path / "bad.fasta"))


def test_a_plain_file_called_gz_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected gzip data"):
        read(tmp_path / "plain.fasta.gz", GOOD)


def test_records_before_a_fault_are_handed_on(tmp_path: Path) -> None:
    path = tmp_path / "cut.fasta.gz"
    path.write_bytes(packed(GOOD + b">three\nAC>DE\n"))
    reading = read_records(path)
    assert [next(reading), next(reading)] == RECORDS
    with pytest.raises(UserError, match="line 7"):
        next(reading)


def test_counts_what_it_mends(tmp_path: Path) -> None:
    content = (
        b">empty|one\n>spaced\nMK TA\tY\n"
        + ">latin Prot\xe9ine\nACD\n".encode("latin-1")
        + ">utf8 Prot\xe9ine\nACD\n".encode()
        + b">last_is_empty\n"
    )
    records, counts = read(tmp_path / "odd.fasta", content)
    assert records == [
        Record("spaced", "", "MKTAY"),
        Record("latin", "Prot\xe9ine", "ACD"),
        Record("utf8", "Prot\xe9ine", "ACD"),
    ]
    assert (counts.empty, counts.spaced, counts.non_ascii, counts.records) == (2, 1, 2, 3)
    told = "\n".join(counts.warnings())
    assert len(counts.warnings()) == 3
    assert "2 record(s) with a header without a sequence" in told
    assert "line 1 (empty|one)" in told


def test_warnings_are_logged_where_nobody_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.fasta").write_bytes(b">one\nMK TA\n")
    with caplog.at_level(logging.WARNING):
        assert len(list(read_records(tmp_path / "a.fasta"))) == 1
    assert "white space inside the sequence" in caplog.text


def test_headers_are_kept_whatever_they_hold(tmp_path: Path) -> None:
    long = "x" * 300
    content = f">a/b/../c d\nM\n>{long}\nM\n>dup 1\nM\n>dup 2\nM\n> led by a space\nM\n"
    content += ">gi|5|gb|X.1| old\nM\n>lcl|mine\nM\n>sp||EMPTY\nM\n"
    records, _ = read(tmp_path / "headers.fasta", content.encode())
    assert [record.accession for record in records] == [
        *("a/b/../c", long, "dup", "dup", "led", "5", "lcl|mine", "sp||EMPTY"),
    ]
    assert records[0].description == "d"
    assert records[4].description == "by a space"


def test_sequences_are_kept_as_they_stand(tmp_path: Path) -> None:
    titin = "MTTQAPTFTQ" * 3521 + "MKW"
    content = f">odd\nmk-TA*\n>titin\n{titin}\n".encode()
    records, _ = read(tmp_path / "sequences.fasta", content)
    assert [record.sequence for record in records] == ["mk-TA*", titin]


def test_reads_globs_and_lists_in_order(tmp_path: Path) -> None:
    for name in ("b.fasta", "a.fasta", "c[1].fasta"):
        (tmp_path / name).write_text(f">{name}\nMKT\n")
    counts = ReadCounts()
    sources = [tmp_path / "c[1].fasta", str(tmp_path / "[ab].fasta")]
    names = [record.accession for record in read_records(sources, counts=counts)]
    assert names == ["c[1].fasta", "a.fasta", "b.fasta"]
    assert counts.files == 3


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.fasta", "no such file"),
        ("*.fasta", "no file matches"),
        ("", "got a directory"),
        ([], "at least one file"),
        (["a.txt", "a.txt"], "named twice"),
    ],
)
def test_refuses_missing_sources_at_once(
    tmp_path: Path, source: str | list[str], message: str
) -> None:
    (tmp_path / "a.txt").write_text(">a\nM\n")
    places = [tmp_path / each for each in source] if isinstance(source, list) else tmp_path / source
    with pytest.raises(UserError, match=message):
        read_records(places)


def test_counts_add_up() -> None:
    one, two = ReadCounts(records=1), ReadCounts(records=2, residues=7)
    one.note("empty", "here")
    two.note("empty", "there")
    one.add(two)
    assert (one.records, one.residues, one.empty) == (3, 7, 2)
    assert one.warnings()[0].endswith("the first at here")
