"""The prepared folder: described by its manifest, kept, refused where it is damaged."""

import errno
import json
import resource
from collections import Counter
from hashlib import sha256

import numpy as np
import pytest
from data.made_up import data_module, sequences
from data.preparing.prepared_records import PROTEIN, RULE, prepared, records_of, stored

from protein_performer.data import shards
from protein_performer.data.manifest import MANIFEST, read_manifest, verify
from protein_performer.data.preparing.pipeline import prepare
from protein_performer.data.preparing.preprocessing import ProteinPreprocessing
from protein_performer.data.shards import ShardMeta, SplitMeta, StoredSplit, shard_path
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
    how = ProteinPreprocessing(PROTEIN, "error", RULE, 7)
    source = str(tmp_path / "out.fasta")
    assert prepare([source], tmp_path / "out", how) == manifest
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before
    other = ProteinPreprocessing(PROTEIN, "skip", RULE, 7)
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
    monkeypatch.setattr("protein_performer.data.preparing.length_index._PIECE", 7)
    found = prepared(tmp_path / "in_pieces", records)
    found["sources"] = expected["sources"]
    assert found == expected


FILES = ["00000.tokens", "00000.offsets", "00000.accessions", "by_length.npy", "length_counts.npy"]


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 4
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("name", FILES)
def test_verify_finds_one_flipped_bit_in_any_file(tmp_path, name):
    proteins = list(dict.fromkeys(sequences(300)))
    manifest = prepared(tmp_path / "out", records_of([*proteins, *proteins[:20]]))
    expected = len(proteins), sum(map(len, proteins))
    assert verify(tmp_path / "out") == expected
    flip_a_bit(tmp_path / "out" / "test" / name)
    with pytest.raises(UserError, match=rf"test/{name}: damaged .its checksum"):
        verify(tmp_path / "out")
    flip_a_bit(tmp_path / "out" / "test" / name)
    manifest["splits"]["train"]["shards"].pop()
    (tmp_path / "out" / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"manifest.json: damaged.*its shards"):
        verify(tmp_path / "out")


@pytest.mark.parametrize("name", [name for name in FILES if "accessions" not in name])
def test_a_flipped_bit_is_no_batch(tmp_path, name):
    """What is read is compared when it is opened first, by whoever reads: also a worker."""
    module = data_module(tmp_path, num_workers=1)
    assert len(list(module.train_dataloader())) > 1
    flip_a_bit(module.folder / "train" / name)
    with pytest.raises(UserError, match=rf"train/{name}: damaged .its checksum"):
        list(data_module(tmp_path, num_workers=1).train_dataloader())


def test_a_folder_of_the_format_before_is_read(tmp_path):
    """It called the split `valid`, and the characters that were counted `met`."""
    manifest = prepared(tmp_path / "out", records_of(sequences(100)))
    expected = [each.tobytes() for each in stored(tmp_path / "out", "val")]
    assert expected
    older = json.loads(json.dumps(manifest))
    older["definition"]["format"] = 2
    older["definition"]["splits"]["valid"] = older["definition"]["splits"].pop("val")
    older["splits"] = {
        "valid" if name == "val" else name: {**entry, "met": entry["characters"]}
        for name, entry in manifest["splits"].items()
    }
    for entry in older["splits"].values():
        del entry["characters"]
    (tmp_path / "out" / MANIFEST).write_text(json.dumps(older))
    (tmp_path / "out" / "val").rename(tmp_path / "out" / "valid")
    assert verify(tmp_path / "out").proteins == 100
    assert [each.tobytes() for each in stored(tmp_path / "out", "val")] == expected
    module = data_module(tmp_path, sources=None, splits=None, prepared=tmp_path / "out")
    assert module.preprocessing.splits == RULE
    assert module.manifest["content"] == manifest["content"]
    assert sum(len(batch.inputs) for batch in module.val_dataloader()) == len(expected)


@pytest.mark.parametrize(
    "change",
    [
        {"splits": {"../../victim": {}}},
        {"splits": []},
        {"splits": None},
        {"definition": {"format": 3}},
        {"definition": {"format": 2}},
        {"definition": []},
    ],
)
def test_an_odd_manifest_is_refused(tmp_path, change):
    manifest = prepared(tmp_path / "out", records_of(sequences(30)))
    (tmp_path / "out" / MANIFEST).write_text(json.dumps(manifest | change))
    with pytest.raises(UserError, match=r"manifest.json: damaged, or none of ours"):
        read_manifest(tmp_path / "out")


def test_many_shards_raise_the_limit_of_open_files(tmp_path):
    """Each map keeps its file open, and 200 million proteins lie in 763 shards."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        shard = ShardMeta(10, 99, {})
        StoredSplit(tmp_path, SplitMeta(30, [shard] * 3, {}), 10)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 256 + 6
        StoredSplit(tmp_path, SplitMeta(7_630, [shard] * 763, {}), 10)
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


def test_a_file_is_compared_once_in_a_process(tmp_path, monkeypatch):
    compared = Counter()

    def count(path, file_sha256=shards.file_sha256):
        compared[path.name] += 1
        return file_sha256(path)

    monkeypatch.setattr(shards, "file_sha256", count)
    prepared(tmp_path / "out", records_of(sequences(40)))
    for _ in range(3):
        list(stored(tmp_path / "out", "train"))
    opened = {name: times for name, times in compared.items() if "accessions" not in name}
    assert {"by_length.npy", "00000.tokens", "00000.offsets"} <= opened.keys()
    assert set(opened.values()) == {1}
