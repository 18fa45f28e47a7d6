"""Exact copies: one is kept, in the split that is held out most, and the others are counted."""

import pytest
from data.made_up import sequences, write_clusters
from data.preparing.prepared_records import prepared, records_of, stored

from protein_performer.data.preparing.folder_report import describe_folder
from protein_performer.data.reading.record import Record
from protein_performer.data.splits import SPLITS, SplitRule


def test_copies_are_left_out_whatever_their_case_and_counted(tmp_path):
    proteins = [f"MKT{each}" for each in sequences(50, seed=3)]
    records = records_of([*proteins, *proteins, proteins[0].lower()])
    manifest = prepared(tmp_path / "out", records)
    kept = [stored(tmp_path / "out", name) for name in SPLITS]
    contents = [each.tobytes() for split in kept for each in split]
    assert len(contents) == len(set(contents)) == len(set(proteins))
    left_out = sum(split["duplicates"] for split in manifest["splits"].values())
    assert left_out == len(records) - len(set(proteins))
    first = [split.accession(int(i)) for split in kept for i in split.by_length()]
    assert {int(name[1:]) for name in first} <= set(range(50))  # the first copy is kept


def test_a_copy_of_a_held_out_protein_leaves_training(tmp_path):
    proteins = sequences(40, seed=1)
    clusters = write_clusters(tmp_path / "clusters.tsv", 40, size=1)
    rule = SplitRule(val=0.2, test=0.2, ood=0.5, clusters=str(clusters))
    copies = [Record(f"copy{i}", "", each) for i, each in enumerate(proteins)]
    prepared(tmp_path / "out", [*copies, *records_of(proteins)], rule=rule)
    held_out = {each.tobytes() for each in stored(tmp_path / "out", "ood")}
    assert 5 < len(held_out) < 35
    for name in ("train", "val", "test"):
        assert held_out.isdisjoint(each.tobytes() for each in stored(tmp_path / "out", name))


@pytest.mark.parametrize("together", [1, 50])
def test_copies_are_found_on_disk_as_in_memory(tmp_path, monkeypatch, together):
    """Digests are dealt out to files only when there are many, and again where that is too few."""
    records = records_of([*sequences(60, seed=4), *sequences(60, seed=4)])
    records.append(records[3])
    expected = prepared(tmp_path / "in_memory", records)
    monkeypatch.setattr("protein_performer.data.preparing.duplicates._PIECE", together)
    found = prepared(tmp_path / "on_disk", records)
    assert sum(split["duplicates"] for split in found["splits"].values()) >= 61
    assert found["repeated_accessions"] == 1
    found["sources"] = expected["sources"]
    assert found == expected
    assert not list((tmp_path / "on_disk").glob("*digests*"))


def test_copies_across_splits_are_counted_and_none_remains(tmp_path):
    """By accession, copies may part; then the one of the higher split is kept."""
    proteins = [f"MKT{each}" for each in sequences(100, seed=3)]
    records = records_of([each for each in proteins for _ in range(4)])
    rule = SplitRule(val=0.2, test=0.2, by="accession")
    manifest = prepared(tmp_path / "out", records, rule=rule)
    kept = [each.tobytes() for name in SPLITS for each in stored(tmp_path / "out", name)]
    assert len(kept) == len(set(kept)) == 100
    across = {name: split["copies_across_splits"] for name, split in manifest["splits"].items()}
    assert across["train"] > 100
    assert across["test"] == 0  # OOD would come before it, but there is none
    assert sum(split["duplicates"] for split in manifest["splits"].values()) == 300


@pytest.mark.parametrize("ood", [0.5, 1])
def test_records_that_the_table_of_clusters_does_not_name_are_counted(tmp_path, ood):
    """They may be relatives of held-out ones, but where the table names these alone (ood=1)."""
    proteins = sequences(60, seed=6)
    clusters = write_clusters(tmp_path / "clusters.tsv", 45)
    rule = SplitRule(val=0.1, test=0.1, ood=ood, clusters=str(clusters))
    manifest = prepared(tmp_path / "out", records_of(proteins), rule=rule)
    assert manifest["unlisted_accessions"] == 15
    lengths = {name: stored(tmp_path / "out", name).length_counts() for name in SPLITS}
    warnings = describe_folder(manifest, lengths).warnings
    assert [w for w in warnings if "15 record(s) that" in w and "relatives" in w] == warnings
    assert len(warnings) == (ood < 1)
