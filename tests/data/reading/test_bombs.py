"""Small files that would fill the memory or take forever, and lines that are named in errors."""

import gzip
import tracemalloc

import pytest
from data.made_up import STANDARD

from protein_performer.alphabet import Alphabet
from protein_performer.data.clusters import read_clusters
from protein_performer.data.preparing.tokenizer import Tokenizer
from protein_performer.data.reading import text_blocks
from protein_performer.data.reading.columns import record_place
from protein_performer.data.reading.pfam import read_members
from protein_performer.data.reading.reader import Place, read_from, read_records
from protein_performer.data.reading.record import ReadCounts
from protein_performer.data.splits import SplitRule
from protein_performer.errors import UserError

GOOD = b">tr|A|\nMKT\n>tr|B|\nMKV\n"
FLAT = (
    b"ID   P1  Reviewed;  3 AA.\nAC   P00001;\n"
    b"SQ   SEQUENCE   3 AA;  1400 MW;  0000000000000000 CRC64;\n     MKT\n//\n"
)
BOMBS = {
    "sequence": (GOOD + b">tr|BOMB|\n", b"A" * 59 + b"\n", r"line 5: .*'>tr\|BOMB\|' has more"),
    "line": (GOOD + b">tr|BOMB|\n", b"A", r"line 5: .*'>tr\|BOMB\|' has more"),
    "header": (GOOD + b">tr|BOMB|", b"A", r"line 5: .*'>tr\|BOMB\|A+' has more"),
    "first header": (b">tr|BOMB|", b"A", r"line 1: .*'>tr\|BOMB\|A+' has more"),
    "blank lines": (GOOD, b"\n", r"line 3: .*'>tr\|B\|' has more"),
    "entry": (FLAT + b"ID   BOMB;\n", b"CC   A\n", r"line 6: .*'ID   BOMB;' has more"),
}


@pytest.mark.parametrize(("begin", "filling", "message"), BOMBS.values(), ids=BOMBS)
def test_a_record_without_an_end_is_named_in_little_memory(
    tmp_path, monkeypatch, begin, filling, message
):
    monkeypatch.setenv(text_blocks.LIMIT_VARIABLE, "4")
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(begin + filling * (64_000_000 // len(filling))))
    assert path.stat().st_size < 400_000
    found = []
    tracemalloc.start()
    with pytest.raises(UserError, match=rf"bomb\.gz, {message}.*RECORD_MB") as error:
        found.extend(read_records(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40_000_000
    assert "\n" not in str(error.value)
    first = [each.accession for each in found[:1]]
    assert first == {b">tr|A|": ["A"], b"ID   P": ["P00001"], b">tr|BO": []}[begin[:6]]


def test_the_limit_is_an_option(tmp_path, monkeypatch):
    path = tmp_path / "long.fasta"
    path.write_text(">tr|LONG|\n" + "MKT\n" * 400_000)
    monkeypatch.setenv(text_blocks.LIMIT_VARIABLE, "1")
    with pytest.raises(UserError, match="at most 1 MB of text"):
        list(read_records(path))
    monkeypatch.setenv(text_blocks.LIMIT_VARIABLE, "2.5")
    assert [len(each.sequence) for each in read_records(path)] == [1_200_000]
    monkeypatch.setenv(text_blocks.LIMIT_VARIABLE, "much")
    with pytest.raises(UserError, match="expected megabytes, got 'much'"):
        list(read_records(path))


@pytest.mark.parametrize("blank", [b"\n", b" ", b" \n", b"\r\n"])
def test_blank_text_in_front_is_let_go(tmp_path, monkeypatch, blank):
    """Looked at once and not kept: each piece is as long as it arrives."""
    longest = []
    strip = text_blocks._BLANK

    class Watched(bytes):
        def lstrip(self, characters):
            longest.append(len(self))
            return bytes(self).lstrip(characters)

        def __add__(self, other):
            return Watched(bytes(self) + other)

    assert strip
    blanks = blank * 100_000
    pieces = [blanks[i : i + 1000] for i in range(0, len(blanks), 1000)]
    head, first_line, found = _begin_with(Watched, [*pieces, b"\n>A\nMKT\n"])
    assert (head, found) == (b">A\nMKT\n", "fasta")
    assert first_line == 2 + blanks.count(b"\n")
    assert max(longest, default=0) <= 3_000


def _begin_with(kind, pieces):
    found, head, line = text_blocks._begin(iter(map(kind, pieces)), "blank", [])
    return bytes(head), line, found


def test_lines_without_an_end_are_refused_in_tables(tmp_path):
    table = tmp_path / "clusters.tsv.gz"
    table.write_bytes(gzip.compress(b"C\tP1\nC\t" + b"P" * 64_000_000))
    tracemalloc.start()
    with pytest.raises(UserError, match=r"clusters\.tsv\.gz:2: expected 'cluster<tab>accession'"):
        list(read_clusters(table))
    regions = tmp_path / "regions.tsv.gz"
    header = b"uniprot_acc\tpfamA_acc\n"
    regions.write_bytes(gzip.compress(header + b"P" * 64_000_000))
    with pytest.raises(UserError, match=r"regions\.tsv\.gz: expected lines"):
        list(read_members(regions, ["PF00001"]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 140_000_000  # the tables that this test makes included


@pytest.mark.parametrize("wrong", [0, 3, 7])
def test_a_character_outside_the_alphabet_is_named_with_file_line_and_accession(tmp_path, wrong):
    lines, at = [], {}
    for number in range(8):
        at[number] = len(lines) + 1
        odd = "*" if number == wrong else ""
        lines += [f">tr|P{number}|", STANDARD, *[STANDARD] * number, f"MKT{odd}"]
    path = tmp_path / "odd.fasta"
    path.write_text("\n".join(lines) + "\n")
    tokenizer = Tokenizer(Alphabet(), "error", SplitRule(val=0.0, test=0.0))
    blocks = [block for block, _ in read_from([str(path)], Place(), ReadCounts())]
    assert [record_place(blocks[0], n) for n in range(8)] == [
        f"{path}, line {at[n]}" for n in range(8)
    ]
    place = rf"odd\.fasta, line {at[wrong]}: record P{wrong}: expected residues .*'\*' at position"
    with pytest.raises(UserError, match=place):
        tokenizer.encode(blocks)
