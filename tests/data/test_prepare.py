"""The prepared folder: complete, found by arithmetic, without copies, whole or absent."""

import errno
import json
import random
import resource
from collections import Counter
from hashlib import sha256

import numpy as np
import pytest
from made_up import sequences, write_clusters

from protein_performer.alphabet import Alphabet
from protein_performer.data.prepare import Preparation, prepare
from protein_performer.data.prepared import MANIFEST, open_split, read_manifest
from protein_performer.data.records import Record
from protein_performer.data.shards import StoredSplit, shard_path
from protein_performer.data.splits import SPLITS, SplitRule
from protein_performer.data.verify import verify
from protein_performer.errors import UserError

PROTEIN = Alphabet()
RULE = SplitRule(valid=0.2, test=0.2)


def records_of(proteins):
    return [Record(f"P{i}", "", each) for i, each in enumerate(proteins)]


def prepared(folder, records, *, policy="error", rule=RULE, shard_proteins=7, **options):
    """Prepare records by way of a FASTA file beside the folder."""
    path = folder.with_name(f"{folder.name}.fasta")
    path.write_text("".join(f">{each.accession}\n{each.sequence}\n" for each in records))
    how = Preparation(PROTEIN, policy, rule, shard_proteins)
    return prepare([str(path)], folder, how, **options)


def names_in(folder):
    """What is in a folder beside FASTA files."""
    return {path.name for path in folder.iterdir() if path.suffix != ".fasta"}


def stored(folder, name):
    return open_split(folder, read_manifest(folder), name)


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
    rule = SplitRule(valid=0.2, test=0.2, ood=0.5, clusters=str(clusters))
    copies = [Record(f"copy{i}", "", each) for i, each in enumerate(proteins)]
    prepared(tmp_path / "out", [*copies, *records_of(proteins)], rule=rule)
    held_out = {each.tobytes() for each in stored(tmp_path / "out", "ood")}
    assert 5 < len(held_out) < 35
    for name in ("train", "valid", "test"):
        assert held_out.isdisjoint(each.tobytes() for each in stored(tmp_path / "out", name))


def test_the_manifest_describes_the_files(tmp_path):
    manifest = prepared(tmp_path / "out", records_of(sequences(100)))
    for name, split in manifest["splits"].items():
        for number, shard in enumerate(split["shards"]):
            for kind, digest in shard["sha256"].items():
                content = shard_path(tmp_path / "out" / name, number, kind).read_bytes()
                assert sha256(content).hexdigest() == digest
            assert (
                shard["residues"]
                == shard_path(tmp_path / "out" / name, number, "tokens").stat().st_size
            )
        sizes = [shard["proteins"] for shard in split["shards"]]
        assert sizes[:-1] == [7] * (len(sizes) - 1)
        assert sum(sizes) == split["proteins"] + split["duplicates"]
    again = prepared(tmp_path / "again", records_of(sequences(100)))
    again["sources"] = manifest["sources"]  # by name and time
    assert again == manifest


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
    met = {name: Counter(split["met"]) for name, split in manifest["splits"].items()}
    assert met == expected
    assert Counter(manifest["residues"]) == sum(expected.values(), Counter())


def test_under_the_policy_error_the_record_is_named_and_nothing_is_left(tmp_path):
    records = [*records_of(sequences(5_000, longest=9)), Record("Q9", "", "MK*T")]
    for workers in (0, 1):
        with pytest.raises(
            UserError, match=r"out\.fasta: record Q9: expected residues .*'\*' at position 3"
        ):
            prepared(tmp_path / "out", records, workers=workers)
        assert names_in(tmp_path) == set()


def test_what_is_there_is_kept_or_refused(tmp_path):
    manifest = prepared(tmp_path / "out", records_of(sequences(20, seed=1)))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    how = Preparation(PROTEIN, "error", RULE, 7)
    source = str(tmp_path / "out.fasta")
    assert prepare([source], tmp_path / "out", how) == manifest
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before
    other = Preparation(PROTEIN, "skip", RULE, 7)
    with pytest.raises(UserError, match=r"there already, but prepared otherwise .definition"):
        prepare([source], tmp_path / "out", other)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "file").write_text("")
    with pytest.raises(UserError, match="not a prepared folder"):
        prepare([source], tmp_path / "foreign", how)


def test_no_records_and_no_held_out_ones_are_refused(tmp_path):
    with pytest.raises(UserError, match="at least one protein"):
        prepared(tmp_path / "out", [Record("A", "", "**")], policy="skip")
    with pytest.raises(UserError, match="at least one protein"):
        prepared(tmp_path / "empty", [Record("A", "", ""), Record("B", "", "")])
    clusters = write_clusters(tmp_path / "clusters.tsv", 100, prefix="OTHER")
    rule = SplitRule(valid=0.1, test=0.1, ood=0.5, clusters=str(clusters))
    with pytest.raises(UserError, match="Is it their table"):
        prepared(tmp_path / "out", records_of(sequences(9)), rule=rule)


def test_a_folder_that_is_none_or_damaged_or_older_is_refused(tmp_path):
    with pytest.raises(UserError, match="not a prepared folder"):
        read_manifest(tmp_path)
    prepared(tmp_path / "out", records_of(sequences(30)))
    path = shard_path(tmp_path / "out" / "train", 0, "tokens")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"00000.tokens: damaged .*prepare again"):
        stored(tmp_path / "out", "train").residues(0)
    path.unlink()
    with pytest.raises(UserError, match=r"00000.tokens: damaged"):
        stored(tmp_path / "out", "train").residues(0)
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    manifest["definition"]["format"] = 0
    (tmp_path / "out" / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="prepared in format 0"):
        read_manifest(tmp_path / "out")
    (tmp_path / "out" / MANIFEST).write_text("{")
    with pytest.raises(UserError, match=r"manifest.json: damaged"):
        read_manifest(tmp_path / "out")


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


@pytest.mark.parametrize("together", [1, 50])
def test_copies_are_found_on_disk_as_in_memory(tmp_path, monkeypatch, together):
    """Digests are dealt out to files only when there are many, and again where that is too few."""
    records = records_of([*sequences(60, seed=4), *sequences(60, seed=4)])
    records.append(records[3])
    expected = prepared(tmp_path / "in_memory", records)
    monkeypatch.setattr("protein_performer.data.grouping._TOGETHER", together)
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
    rule = SplitRule(valid=0.2, test=0.2, by="accession")
    manifest = prepared(tmp_path / "out", records, rule=rule)
    kept = [each.tobytes() for name in SPLITS for each in stored(tmp_path / "out", name)]
    assert len(kept) == len(set(kept)) == 100
    across = {name: split["copies_across_splits"] for name, split in manifest["splits"].items()}
    assert across["train"] > 100
    assert across["test"] == 0  # OOD would come before it, but there is none
    assert manifest["leaks"] == 0
    assert sum(split["duplicates"] for split in manifest["splits"].values()) == 300


def test_the_length_order_is_the_same_sorted_a_few_proteins_at_a_time(tmp_path, monkeypatch):
    records = records_of([*sequences(300, longest=40), *sequences(20)])
    expected = prepared(tmp_path / "at_once", records)
    monkeypatch.setattr("protein_performer.data.index._SORTED", 7)
    found = prepared(tmp_path / "in_pieces", records)
    found["sources"] = expected["sources"]
    assert found == expected


def test_verify_looks_at_every_piece_of_the_index(tmp_path, monkeypatch):
    monkeypatch.setattr("protein_performer.data.verify._TOGETHER", 13)
    proteins = list(dict.fromkeys(sequences(300)))
    prepared(tmp_path / "out", records_of([*proteins, *proteins[:20]]))
    expected = len(proteins), sum(map(len, proteins)), 0
    assert verify(tmp_path / "out") == expected
    path = tmp_path / "out" / "train" / "by_length.npy"
    right = np.load(path)
    for first, second in ((12, 13), (0, len(right) - 1)):
        wrong = right.copy()
        lengths = [len(stored(tmp_path / "out", "train").residues(int(i))) for i in right]
        second += lengths[second:].index(next(n for n in lengths[second:] if n > lengths[first]))
        wrong[[first, second]] = wrong[[second, first]]
        np.save(path, wrong)
        with pytest.raises(UserError, match="not in order of length"):
            verify(tmp_path / "out")
    alike = next(i for i in range(len(right)) if lengths[i] == lengths[i + 1])
    wrong = right.copy()
    wrong[[alike, alike + 1]] = wrong[[alike + 1, alike]]
    np.save(path, wrong)
    with pytest.raises(UserError, match=r"by_length.npy: its checksum"):
        verify(tmp_path / "out")
    wrong[alike] = 10**6
    np.save(path, wrong)
    with pytest.raises(UserError, match="no permutation"):
        verify(tmp_path / "out")


def test_many_shards_raise_the_limit_of_open_files(tmp_path):
    """Each map keeps its file open, and 200 million proteins lie in 763 shards."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        StoredSplit(tmp_path, shard_proteins=10, shards=3, proteins=30)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 256 + 6
        StoredSplit(tmp_path, shard_proteins=10, shards=763, proteins=7_630)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 2_000
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_too_many_open_files_are_not_taken_for_damage(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EMFILE, "Too many open files")

    prepared(tmp_path / "out", records_of(sequences(9)))
    monkeypatch.setattr(np, "memmap", refuse)
    with pytest.raises(UserError, match="ulimit -n"):
        stored(tmp_path / "out", "train").residues(0)
