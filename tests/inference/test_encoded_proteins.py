import gzip

import pytest

from protein_performer.alphabet import Alphabet
from protein_performer.errors import UserError
from protein_performer.inference import encoded_proteins
from protein_performer.inference.encoded_proteins import SourceCounts, in_chunks, read_proteins

FASTA = ">a first\nMKT\nAYI\n>empty\n\n>b\nAC*DEF\n>c\nM\n"


def write(folder, text, name="a.fasta"):
    (folder / name).write_text(text)
    return str(folder / name)


def read(source, policy="unknown", counts=None):
    found = read_proteins(source, Alphabet(), policy, SourceCounts() if counts is None else counts)
    return [(each.accession, Alphabet().decode(each.codes)) for each in found]


def test_proteins_come_in_order_and_all_that_is_odd_is_counted(tmp_path):
    counts = SourceCounts()
    source = write(tmp_path, FASTA)
    assert read(source, counts=counts) == [("a", "MKTAYI"), ("b", "ACXDEF"), ("c", "M")]
    assert (counts.proteins, counts.residues, counts.reading.empty) == (3, 13, 1)
    told = "\n".join(counts.warnings())
    assert "1 characters outside the alphabet read as unknown" in told
    assert "without a sequence" in told


def test_lower_case_is_read_as_upper_case_and_told(tmp_path):
    counts = SourceCounts()
    assert read(write(tmp_path, ">a\nmkTJ\n"), counts=counts) == [("a", "MKTJ")]
    assert list(counts.warnings()) == ["2 lower-case residues read as upper case"]


def test_what_a_policy_leaves_nothing_of_counts_as_empty(tmp_path):
    counts = SourceCounts()
    assert read(write(tmp_path, ">a\n**\n>b\nM*\n"), "skip", counts) == [("b", "M")]
    assert (counts.proteins, counts.reading.empty, counts.letters.skipped) == (1, 1, 3)
    assert "a.fasta, line 1 (a)" in "\n".join(counts.warnings())


@pytest.mark.parametrize("blocks", [None, 10])
@pytest.mark.parametrize("packed", [False, True])
def test_a_character_that_is_no_residue_is_named_with_file_line_and_accession(
    tmp_path, monkeypatch, blocks, packed
):
    if blocks:  # else all is one block
        monkeypatch.setattr("protein_performer.data.reading.text_blocks._AT_LEAST", blocks)
        monkeypatch.setattr("protein_performer.data.reading.sources.CHUNK", blocks)
    source = write(tmp_path, FASTA)
    if packed:
        source += ".gz"
        with gzip.open(source, "wt") as file:
            file.write(FASTA)
    with pytest.raises(UserError, match=r"a\.fasta.*, line 6: b: .*'\*' at position 3"):
        read(source, "error")


def test_chunks_are_bounded_by_records_and_by_residues(tmp_path, monkeypatch):
    source = write(tmp_path, "".join(f">{i}\n{'M' * (i % 7 + 1)}\n" for i in range(50)))
    found = list(read_proteins(source, Alphabet(), "error", SourceCounts()))
    monkeypatch.setattr(encoded_proteins, "CHUNK_RECORDS", 4)
    monkeypatch.setattr(encoded_proteins, "CHUNK_RESIDUES", 12)
    chunks = list(in_chunks(found))
    assert [each for chunk in chunks for each in chunk] == found
    assert all(len(chunk) <= 4 for chunk in chunks)
    assert all(sum(len(each.codes) for each in chunk[:-1]) < 12 for chunk in chunks)


def test_a_source_without_a_protein_is_an_error(tmp_path):
    with pytest.raises(UserError, match="expected proteins, found none"):
        read(write(tmp_path, ">a\n**\n"), "skip")
