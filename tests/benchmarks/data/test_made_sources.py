"""Sources of any size out of a few real proteins."""

from collections import Counter

import pytest

from benchmarks.data.made_sources import make_source
from protein_performer.data.reading.reader import read_records

REAL = [("P1", "MKTAYIAKQR" * 13), ("P2", "ACDEFGHIKLXU" * 7), ("P3", "M")]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "real.fasta"
    path.write_text("".join(f">tr|{name}|X a protein\n{each}\n" for name, each in REAL))
    return path


def test_a_made_source_has_the_lengths_of_the_real_one_and_other_residues(source, tmp_path):
    made = make_source([str(source)], tmp_path, 0.05)
    records = list(read_records(made.path))
    text = sum(len(f">tr|{r.accession}|{r.description}\n") for r in records)
    assert 50_000 <= made.text_bytes < 51_000
    assert text < made.text_bytes
    assert len(records) == made.records == len({record.accession for record in records})
    lengths = [len(sequence) for _, sequence in REAL]
    assert [len(record.sequence) for record in records[: 3 * len(REAL)]] == 3 * lengths
    long = Counter(record.sequence for record in records[::3])
    assert max(long.values()) == 1
    same = [sum(map(str.__eq__, record.sequence, REAL[0][1])) / 130 for record in records[::3]]
    assert 0.85 < sum(same) / len(same) < 0.95
    rare = [record.sequence.count("X") for record in records[1::3]]
    assert set(rare) == {7}
    assert records[0].description == "a protein"


def test_a_made_source_follows_from_its_seed_and_is_found_again(source, tmp_path):
    one = make_source([str(source)], tmp_path, 0.01)
    changed = one.path.stat().st_mtime_ns
    assert make_source([str(source)], tmp_path, 0.01) == one
    assert one.path.stat().st_mtime_ns == changed
    (tmp_path / "again").mkdir()
    again = make_source([str(source)], tmp_path / "again", 0.01)
    other = make_source([str(source)], tmp_path, 0.01, seed=1)
    sequences = [[r.sequence for r in read_records(m.path)] for m in (one, again, other)]
    assert sequences[0] == sequences[1] != sequences[2]
    assert [len(each) for each in sequences[0]] == [len(each) for each in sequences[2]]
