"""The prepared folder: described by its manifest, kept, refused where it is damaged."""

import errno
import json
import resource
from hashlib import sha256

import numpy as np
import pytest
from made_up import sequences
from preparing import PROTEIN, RULE, prepared, records_of, stored

from protein_performer.data.preparing.prepare import Preparation, prepare
from protein_performer.data.preparing.verify import verify
from protein_performer.data.storage.prepared import MANIFEST, read_manifest
from protein_performer.data.storage.shards import StoredSplit, shard_path
from protein_performer.errors import UserError


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


def test_the_length_order_is_the_same_sorted_a_few_proteins_at_a_time(tmp_path, monkeypatch):
    records = records_of([*sequences(300, longest=40), *sequences(20)])
    expected = prepared(tmp_path / "at_once", records)
    monkeypatch.setattr("protein_performer.data.preparing.index._SORTED", 7)
    found = prepared(tmp_path / "in_pieces", records)
    found["sources"] = expected["sources"]
    assert found == expected


def test_verify_looks_at_every_piece_of_the_index(tmp_path, monkeypatch):
    monkeypatch.setattr("protein_performer.data.preparing.verify._TOGETHER", 13)
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
