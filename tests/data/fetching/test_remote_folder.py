"""Prepared folders at an address: the batches of the local folder, each shard fetched once."""

import json
import subprocess
import sys

import fsspec
import pytest
from data.loopback import Fault, Site, serve
from data.made_up import batches, data_module, sequences, write_clusters, write_fasta

from protein_performer.alphabet import Alphabet
from protein_performer.data.manifest import open_split, read_manifest
from protein_performer.data.preparing.pipeline import prepare
from protein_performer.data.preparing.preprocessing import ProteinPreprocessing
from protein_performer.data.splits import SplitRule
from protein_performer.errors import UserError

# Workers are forked beside the server's threads, which hold no lock that a worker needs.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("urllib3.util.retry.Retry.sleep", lambda *_: None)
    monkeypatch.setattr(
        "protein_performer.data.reading.http_client.LoggedRetry.sleep", lambda *_: None
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A prepared folder of many small shards."""
    folder = tmp_path_factory.mktemp("prepared")
    proteins = write_fasta(folder / "proteins.fasta", sequences(200))
    clusters = write_clusters(folder / "clusters.tsv", 200)
    rule = SplitRule(val=0.1, test=0.1, ood=0.1, clusters=str(clusters))
    prepare([str(proteins)], folder / "out", ProteinPreprocessing(Alphabet(), "error", rule, 20))
    return folder / "out"


def site_of(folder, **options):
    """A server of the folder's files, below /out."""
    files = {
        f"/out/{path.relative_to(folder)}": path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    return Site(files=files, **options)


def at(site, tmp_path, **options):
    """A data module over what a server serves."""
    return data_module(
        tmp_path, prepared=f"{site.url}/out", cache_dir=tmp_path / "cache", **options
    )


def shards_in(cache):
    """Files of shards in a cache."""
    return [path for path in cache.glob("*/*/[0-9]*") if path.suffix != ".partial"]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_the_local_folder_through_trouble(folder, tmp_path, workers):
    expected = batches(data_module(tmp_path, prepared=folder))
    faults = [Fault(503), *[Fault()] * 9, Fault(drop_after=100), Fault(429), Fault(drop_after=99)]
    visible = []
    with serve(site_of(folder, faults=faults)) as site:

        def look(asked):
            there = shards_in(tmp_path / "cache")
            visible.extend(path for path in there if asked.endswith("/".join(path.parts[-2:])))

        site.before_answer = look
        module = at(site, tmp_path, num_workers=workers)
        assert batches(module) == expected
        state = data_module(tmp_path, prepared=folder).state_dict()
        assert module.state_dict()["identity"] == state["identity"]
    tokens = [path for path, part in site.asked if path.endswith(".tokens") and not part]
    assert not visible  # nothing that is asked for is in its place
    assert len(tokens) <= len(set(tokens)) + 3  # faults
    assert not list(tmp_path.rglob("*.partial"))


def test_rows_of_homologs_are_those_of_the_local_folder(folder, tmp_path):
    """What is derived from shards and accessions comes from the address, too."""
    clusters = str(folder.parent / "clusters.tsv")
    rows = {"context": "homologs", "clusters": clusters, "crop": None, "max_length": 500}
    expected = batches(data_module(tmp_path, prepared=folder, **rows))
    with serve(site_of(folder)) as site:
        assert batches(at(site, tmp_path, **rows)) == expected


PROGRAM = """
import random, sys
from pathlib import Path
from protein_performer.data.fetching.remote_folder import RemoteFolder
address, cache, seed = sys.argv[1:]
folder = RemoteFolder(address, None, Path(cache))
folder.prepare(0)
for name in ("train", "ood"):
    split = folder.split(name)
    order = [int(i) for i in split.by_length()]
    random.Random(seed).shuffle(order)
    for index in order:
        print(name, index, split.residues(index).tobytes().hex())
"""


def test_processes_share_what_one_of_them_has_fetched(folder, tmp_path):
    with serve(site_of(folder)) as site:
        running = [
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, f"{site.url}/out", str(tmp_path), str(seed)],
                stdout=subprocess.PIPE,
                text=True,
            )
            for seed in range(2)
        ]
        printed = [process.communicate(timeout=100)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    manifest = read_manifest(folder)
    expected = set()
    for name in ("train", "ood"):
        split = open_split(folder, manifest, name)
        expected |= {
            f"{name} {index} {split.residues(index).tobytes().hex()}"
            for index in split.by_length().tolist()
        }
    assert all(set(each.splitlines()) == expected for each in printed)
    tokens = [path for path, _ in site.asked if path.endswith(".tokens")]
    assert len(tokens) == len(set(tokens))


@pytest.mark.parametrize(
    "name", ["train/00000.tokens", "train/00000.accessions", "train/by_length.npy"]
)
def test_wrong_bytes_are_refused(folder, tmp_path, name):

    def look(module):
        module.split("train").by_length()
        module.split("train").accession(0)
        module.split("train").residues(0)

    with serve(site_of(folder)) as site:
        for wrong in (site.files[f"/out/{name}"][:-2] + b"\0\n", site.files[f"/out/{name}"][:-1]):
            site.files[f"/out/{name}"] = wrong
            with pytest.raises(UserError, match=f"{name}: expected bytes with SHA-256 .* others"):
                look(at(site, tmp_path))
    assert not [path for path in shards_in(tmp_path / "cache") if path.match(f"*/{name}")]
    assert not list(tmp_path.rglob("*.partial"))


def test_a_folder_of_another_kind_is_refused(folder, tmp_path):
    with serve(site_of(folder)) as site:
        letters = Alphabet(standard="ACGT", rare="N", unknown="N")
        with pytest.raises(UserError, match="/out: prepared with Alphabet"):
            at(site, tmp_path, alphabet=letters).prepare_data()
        site.files["/out/manifest.json"] = b"<html>"
        with pytest.raises(UserError, match=r"/out/manifest.json: damaged"):
            at(site, tmp_path).prepare_data()
        del site.files["/out/manifest.json"]
        with pytest.raises(UserError, match=r"manifest.json: the server answers 404"):
            at(site, tmp_path).prepare_data()


def test_a_signature_is_sent_and_neither_stored_nor_part_of_the_cache(folder, tmp_path):
    found = []
    with serve(site_of(folder)) as site:
        for secret in ("one", "two"):
            module = data_module(
                tmp_path,
                prepared=f"{site.url}/out/?X-Amz-Signature={secret}",
                cache_dir=tmp_path / "cache",
            )
            found.append((module.folder, module.origin.name, module.split("train").residues(3)))
            assert f"/out/manifest.json?X-Amz-Signature={secret}" in dict(site.asked)
            text = json.dumps(module.state_dict()) + " ".join(map(str, tmp_path.rglob("*")))
            assert secret not in text.replace("none", "")
    assert found[0][:2] == found[1][:2]
    assert found[0][1] == f"{site.url}/out"
    assert len([path for path, _ in site.asked if "train/00000.tokens" in path]) == 1


def test_stores_other_than_http_give_the_same_batches(folder, tmp_path):
    store = fsspec.filesystem("memory")
    for path in folder.rglob("*"):
        if path.is_file():
            store.pipe(f"/bucket/out/{path.relative_to(folder)}", path.read_bytes())
    module = data_module(tmp_path, prepared="memory://bucket/out/", cache_dir=tmp_path / "cache")
    assert batches(module) == batches(data_module(tmp_path, prepared=folder))
    assert not list(tmp_path.rglob("*.partial"))
