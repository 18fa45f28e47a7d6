"""Preparing: every record in its split, found by arithmetic, counted, whole or absent."""

import random
from collections import Counter

import numpy as np
import pytest
from data.made_up import sequences, write_clusters
from data.preparing.prepared_records import PROTEIN, prepared, records_of, stored

from protein_performer.data.reading.record import Record
from protein_performer.data.splits import SPLITS, SplitRule
from protein_performer.errors import UserError


def names_in(folder):
    """What is in a folder beside FASTA files."""
    return {path.name for path in folder.iterdir() if path.suffix not in (".fasta", ".lock")}


def test_every_protein_is_found_again_in_its_split(tmp_path):
    proteins = sequences(300)
    manifest = prepared(tmp_path / "out", records_of(proteins))
    found = {}
    for name in SPLITS:
        split = stored(tmp_path / "out", name)
        for index in split.by_length().tolist():
            found[split.accession(index)] = PROTEIN.decode(split.residues(index))
    unique = {each: f"P{i}" for i, each in reversed(list(enumerate(proteins)))}
    assert found == {accession: each for each, accession in unique.items()}
    assert sum(split["proteins"] for split in manifest["splits"].values()) == len(unique)


def test_the_index_sorts_by_length_and_counts_lengths_and_residues(tmp_path):
    manifest = prepared(tmp_path / "out", records_of(sequences(300)))
    split = stored(tmp_path / "out", "train")
    residues = list(split)
    lengths = [len(each) for each in residues]
    assert lengths == sorted(lengths)
    assert np.array_equal(split.length_counts(), np.bincount(lengths))
    counts = np.bincount(np.concatenate(residues), minlength=len(PROTEIN))
    assert manifest["splits"]["train"]["residue_counts"] == counts.tolist()
    assert manifest["splits"]["train"]["residues"] == sum(lengths)


def test_the_splits_do_not_depend_on_the_order_of_the_records(tmp_path):
    records = records_of(sequences(200))
    prepared(tmp_path / "one", records)
    random.Random(0).shuffle(records)
    prepared(tmp_path / "other", records)
    for name in SPLITS:
        one, other = stored(tmp_path / "one", name), stored(tmp_path / "other", name)
        contents = [Counter(each.tobytes() for each in split) for split in (one, other)]
        assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("policy", "emptied", "unknown", "skipped"), [("skip", 1, 0, 3), ("unknown", 0, 3, 0)]
)
def test_odd_characters_follow_the_policy_and_are_counted(
    tmp_path, policy, emptied, unknown, skipped
):
    records = [Record("A", "", "MK*TA"), Record("B", "", "**"), Record("C", "", "acd")]
    manifest = prepared(tmp_path / "out", records, policy=policy)
    assert manifest["emptied"] == emptied
    assert manifest["residues"]["unknown"] == unknown
    assert manifest["residues"]["skipped"] == skipped
    assert manifest["residues"]["lower_case"] == 3
    contents = {PROTEIN.decode(each) for name in SPLITS for each in stored(tmp_path / "out", name)}
    assert contents == ({"MKTA", "ACD"} if policy == "skip" else {"MKXTA", "XX", "ACD"})


def test_odd_characters_are_counted_by_split(tmp_path):
    proteins = ["MK*TA", "acdX", "MKUO*", "LLLL", *sequences(60)]
    manifest = prepared(tmp_path / "out", records_of(proteins), policy="unknown")
    expected = {name: Counter() for name in SPLITS}
    where = {}
    for name in SPLITS:
        split = stored(tmp_path / "out", name)
        where |= {split.accession(int(index)): name for index in split.by_length()}
    for number, each in enumerate(proteins):
        counts = expected[where[f"P{number}"]]
        counts["residues"] += len(each)
        counts["lower_case"] += sum(map(str.islower, each))
        counts["rare"] += sum(each.upper().count(letter) for letter in PROTEIN.rare)
        counts["unknown"] += each.count("*")
    met = {name: Counter(split["characters"]) for name, split in manifest["splits"].items()}
    assert met == expected
    assert Counter(manifest["residues"]) == sum(expected.values(), Counter())


def test_under_the_policy_error_the_record_is_named_and_nothing_is_left(tmp_path):
    records = [*records_of(sequences(5_000, longest=9)), Record("Q9", "", "MK*T")]
    for workers in (0, 1):
        with pytest.raises(
            UserError,
            match=r"out\.fasta, line [\d,]+: record Q9: expected residues .*'\*' at position 3",
        ):
            prepared(tmp_path / "out", records, workers=workers)
        assert names_in(tmp_path) == set()


def test_no_records_and_no_held_out_ones_are_refused(tmp_path):
    with pytest.raises(UserError, match="at least one protein"):
        prepared(tmp_path / "out", [Record("A", "", "**")], policy="skip")
    with pytest.raises(UserError, match="at least one protein"):
        prepared(tmp_path / "empty", [Record("A", "", ""), Record("B", "", "")])
    clusters = write_clusters(tmp_path / "clusters.tsv", 100, prefix="OTHER")
    rule = SplitRule(val=0.1, test=0.1, ood=0.5, clusters=str(clusters))
    with pytest.raises(UserError, match="Is it their table"):
        prepared(tmp_path / "out", records_of(sequences(9)), rule=rule)


def test_accessions_of_any_kind_are_kept_and_repeated_ones_counted(tmp_path):
    names = ["a/b", "x" * 300, "tr:same", "tr:same", "Ünï", "y" * 16, "y" * 17, "tr:same"]
    records = [Record(n, "", s) for n, s in zip(names, sequences(8), strict=True)]
    manifest = prepared(tmp_path / "out", records)
    kept = Counter()
    for name in SPLITS:
        split = stored(tmp_path / "out", name)
        kept.update(split.accession(int(index)) for index in split.by_length())
    assert kept == Counter(names)
    assert manifest["repeated_accessions"] == 2


def test_titin_and_a_header_of_300_characters_are_kept_whole(tmp_path):
    titin = (sequences(1, longest=400, seed=5)[0] * 35_213)[:35_213]
    long = "sp|A2ASS6|TITIN_MOUSE " + "x" * 300
    records = [Record(long, "", titin), *records_of(sequences(30))]
    manifest = prepared(tmp_path / "out", records)
    lengths = [s.length_counts() for s in (stored(tmp_path / "out", name) for name in SPLITS)]
    (name,) = [n for n, counts in zip(SPLITS, lengths, strict=True) if len(counts) == 35_214]
    split = stored(tmp_path / "out", name)
    longest = int(split.by_length()[-1])
    assert split.accession(longest) == "A2ASS6"
    assert PROTEIN.decode(split.residues(longest)) == titin
    assert sum(s["proteins"] for s in manifest["splits"].values()) == 31


def test_one_protein_alone_can_be_prepared(tmp_path):
    manifest = prepared(tmp_path / "out", records_of(["ACDEF"]))
    assert sum(split["residues"] for split in manifest["splits"].values()) == 5
