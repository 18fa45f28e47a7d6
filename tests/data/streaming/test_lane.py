"""Buffers of neighbours that are cut from text as it is read, and found again."""

import gc
import gzip
import tracemalloc

import numpy as np
import pytest
from data.made_up import write_fasta
from data.streaming.streams import BUFFER, COUNT, arrive_in_small_pieces, distinct

from protein_performer.alphabet import Alphabet
from protein_performer.data.preparing import tokenizer
from protein_performer.data.preparing.tokenizer import Tokenizer
from protein_performer.data.reading.columns import parse_columns
from protein_performer.data.reading.reader import Place, first_records, read_from
from protein_performer.data.reading.record import ReadCounts
from protein_performer.data.splits import SplitRule
from protein_performer.data.streaming.lane import BufferStart, Lane

ALL = SplitRule(val=0.0, test=0.0)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    arrive_in_small_pieces(monkeypatch)


def reader(path, *, size=BUFFER, rule=ALL, policy="error"):
    tokenizer = Tokenizer(Alphabet(), policy, rule)
    return Lane(0, [str(path)], tokenizer, size, np.zeros(0, np.uint64), 150)


def shown(buffer):
    indices = sorted(buffer.by_length().tolist())
    return [Alphabet().decode(buffer.residues(index)) for index in indices]


def test_a_resumed_reader_parses_nothing_that_lies_before(tmp_path, monkeypatch):
    path = write_fasta(tmp_path / "proteins.fasta", distinct(COUNT))
    filled = list(reader(path).read(BufferStart()))
    parsed = []
    encode = Tokenizer.encode
    monkeypatch.setattr(
        Tokenizer, "encode", lambda self, blocks: parsed.append(encode(self, blocks)) or parsed[-1]
    )
    again = list(reader(path).read(filled[2].start))
    assert [shown(each.buffer) for each in again] == [shown(each.buffer) for each in filled[2:]]
    assert [each.start for each in again] == [each.start for each in filled[2:]]
    records = sum(each.read.records for each in parsed)
    assert COUNT - 2 * BUFFER <= records < COUNT - 2 * BUFFER + 40
    assert again[-1].counts == filled[-1].counts


def test_buffers_hold_neighbours_whatever_the_pieces_and_the_compression(tmp_path, monkeypatch):
    proteins = distinct(COUNT)
    path = write_fasta(tmp_path / "proteins.fasta", proteins)
    filled = list(reader(path).read(BufferStart()))
    assert [shown(each.buffer) for each in filled] == [
        proteins[begin : begin + BUFFER] for begin in range(0, 270, BUFFER)
    ] + [proteins[270:]]  # the last 40 do not fill half a buffer
    compressed = tmp_path / "proteins.fasta.gz"
    compressed.write_bytes(gzip.compress(path.read_bytes()))
    for bundle in (100, 1 << 21):
        monkeypatch.setattr(tokenizer, "_BUNDLE", bundle)
        for source in (path, compressed):
            others = list(reader(source).read(BufferStart()))
            assert [shown(each.buffer) for each in others] == [
                shown(each.buffer) for each in filled
            ]


def test_several_sources_are_read_as_one_and_resumed_in_any(tmp_path):
    proteins = distinct(COUNT)
    parts = [
        write_fasta(tmp_path / f"{part}.fasta", proteins[part::3], prefix=f"P{part}_")
        for part in range(3)
    ]
    whole = reader(parts[0])
    whole = Lane(0, list(map(str, parts)), whole.tokenizer, BUFFER, whole.held_out, None)
    filled = list(whole.read(BufferStart()))
    assert [protein for each in filled for protein in shown(each.buffer)] == [
        protein for part in range(3) for protein in proteins[part::3]
    ]
    assert len({each.start.place.source for each in filled}) > 1
    for number, each in enumerate(filled):
        again = next(whole.read(each.start))
        assert shown(again.buffer) == shown(filled[number].buffer)
        assert again.behind == each.behind


@pytest.fixture
def quick_collections():
    """The garbage collector looks at what is made from now on only."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("quick_collections")
def test_memory_is_bounded_by_the_buffer_and_not_by_the_source(tmp_path):
    peaks, sizes = [], []
    for count in (2_000, 8_000):
        path = write_fasta(tmp_path / f"{count}.fasta", distinct(count))
        tracemalloc.start()
        for filled in reader(path, size=200).read(BufferStart()):
            sizes.append(len(filled.buffer))
            gc.collect()  # when the collector runs by itself is not the reader's doing
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(sizes) <= 300
    assert peaks[1] < 1.2 * peaks[0]


def test_long_proteins_fill_a_buffer_by_their_residues(tmp_path):
    path = write_fasta(tmp_path / "proteins.fasta", distinct(10, shortest=3_000, longest=4_000))
    sizes = [len(filled.buffer) for filled in reader(path, size=10).read(BufferStart())]
    assert sum(sizes) == 10
    assert set(sizes[:-1]) <= {2, 3}  # 10 * 1024 residues
    path = write_fasta(tmp_path / "longer.fasta", distinct(3, shortest=9_000, longest=9_000))
    assert [len(filled.buffer) for filled in reader(path, size=2).read(BufferStart())] == [1, 1, 1]


def test_the_first_records_end_between_records_in_any_format(tmp_path):
    entry = (
        "ID   P{0}  Reviewed;  3 AA.\nAC   P0000{0};\n"
        "SQ   SEQUENCE   3 AA;  1400 MW;  0000000000000000 CRC64;\n     MKT\n//\n"
    )
    texts = {
        "fasta": "".join(f">P{i}\nMKT\n" * (i != 3) or ">P3\n" for i in range(9)),
        "dat": "".join(entry.format(i) for i in range(9)),
    }
    for kind, text in texts.items():
        path = tmp_path / f"proteins.{kind}"
        path.write_text(text)
        for count in range(11):
            counts, met = ReadCounts(), ReadCounts()
            placed = list(first_records(read_from([str(path)], Place(), counts), count))
            for block, _ in placed:
                parse_columns(block, met)
            assert met.records + met.empty == min(count, 9)
            if placed:
                behind = read_from([str(path)], placed[-1].behind, ReadCounts())
                rest = "".join(block.text.decode() for block, _ in behind)
                assert text.endswith(rest)
                assert sum(len(block.text) for block, _ in placed) + len(rest) == len(text)
