"""Prepared folders at an address: the batches of the local folder, from a bounded cache."""

import logging
import subprocess
import sys

import fsspec
import pytest
from loopback import Fault, Site, serve
from made_up import batches, data_module, sequences, write_clusters, write_fasta

from protein_performer.alphabet import Alphabet
from protein_performer.data.fetching.transfer import Patience
from protein_performer.data.manifest import open_split, read_manifest
from protein_performer.data.preparing.prepare import ProteinPreprocessing, prepare
from protein_performer.data.splits import SplitRule
from protein_performer.errors import UserError

# Workers are forked beside the server's threads, which hold no lock that a worker needs.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")

BOUND = 1e-5  # GB: some four of the shards below


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def patience():
        return Patience(attempts=3, first_pause=0, sleep=lambda seconds: None)

    for module in ("remote_file", "download"):
        monkeypatch.setattr(f"protein_performer.data.fetching.{module}.Patience", patience)


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
    """Bytes of each file of a shard that is in a cache, or arriving."""
    found = {}
    for path in cache.glob("*/*/[0-9]*"):
        try:
            found[str(path.relative_to(cache))] = path.stat().st_size
        except FileNotFoundError:  # removed meanwhile
            continue
    return found


@pytest.mark.parametrize("bound", [None, BOUND])
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_the_local_folder(folder, tmp_path, bound, workers):
    """Through trouble; with a bound, shards are removed and fetched again, and it holds."""
    expected = batches(data_module(tmp_path, prepared=folder))
    faults = [Fault(503), *[Fault()] * 9, Fault(drop_after=100), Fault(429), Fault(drop_after=99)]
    most, visible = [], []
    with serve(site_of(folder, faults=faults)) as site:

        def look(path):
            there = shards_in(tmp_path / "cache")
            most.append(sum(there.values()))
            visible.extend(each for each in there if path.endswith(each.partition("/")[2]))

        site.before_answer = look
        module = at(site, tmp_path, cache_gigabytes=bound, num_workers=workers)
        assert batches(module) == expected
        state = data_module(tmp_path, prepared=folder).state_dict()
        assert module.state_dict()["identity"] == state["identity"]
    tokens = [path for path, part in site.asked if path.endswith(".tokens") and not part]
    assert not visible  # nothing that is asked for is in its place
    assert not [name for name in shards_in(tmp_path / "cache") if "arriving" in name]
    if bound is None:
        assert len(tokens) <= len(set(tokens)) + 3  # faults
    else:
        assert len(tokens) > 3 * len(set(tokens))
        assert max(most) <= bound * 1e9


def test_rows_of_homologs_are_those_of_the_local_folder(folder, tmp_path):
    """What is derived from shards and accessions comes from the address, too."""
    clusters = str(folder.parent / "clusters.tsv")
    rows = {"context": "homologs", "clusters": clusters, "crop": None, "max_length": 500}
    expected = batches(data_module(tmp_path, prepared=folder, **rows))
    with serve(site_of(folder)) as site:
        assert batches(at(site, tmp_path, cache_gigabytes=BOUND, **rows)) == expected


PROGRAM = """
import random, sys
from pathlib import Path
from protein_performer.data.fetching.remote_shards import RemoteFolder
address, cache, seed = sys.argv[1:]
folder = RemoteFolder(address, None, Path(cache), 1e-5)
folder.prepare(0)
for name in ("train", "ood"):
    split = folder.split(name)
    order = [(int(i), split.residues(int(i)).tobytes().hex()) for i in split.by_length()]
    random.Random(seed).shuffle(order)
    for index, residues in order:
        assert split.residues(index).tobytes().hex() == residues
        print(name, index, residues)
"""


def test_processes_share_a_bounded_cache(folder, tmp_path):
    with serve(site_of(folder)) as site:
        most = []
        site.before_answer = lambda path: most.append(sum(shards_in(tmp_path).values()))
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
    assert max(most) <= BOUND * 1e9
    manifest = read_manifest(folder)
    expected = set()
    for name in ("train", "ood"):
        split = open_split(folder, manifest, name)
        expected |= {
            f"{name} {index} {split.residues(index).tobytes().hex()}"
            for index in split.by_length().tolist()
        }
    assert all(set(each.splitlines()) == expected for each in printed)
    assert not list(tmp_path.glob("*/*/*.lock"))


def test_wrong_bytes_are_fetched_once_more(folder, tmp_path):
    path = "/out/train/00000.tokens"
    with serve(site_of(folder)) as site:
        right = site.files[path]
        site.files[path] = right[:-1] + bytes([right[-1] ^ 1])

        def repair(asked):
            if asked == path and sum(name == path for name, _ in site.asked) == 2:
                site.files[path] = right

        site.before_answer = repair
        split = at(site, tmp_path).split("train")
        local = open_split(folder, read_manifest(folder), "train")
        assert split.residues(3).tobytes() == local.residues(3).tobytes()
        assert split.accession(3) == local.accession(3)
        assert [name for name, _ in site.asked].count(path) == 2


@pytest.mark.parametrize(
    "name", ["train/00000.tokens", "train/00000.accessions", "train/by_length.npy"]
)
def test_bytes_that_stay_wrong_are_refused(folder, tmp_path, name):

    def look(module):
        module.split("train").accession(0)
        module.split("train").residues(0)

    with serve(site_of(folder)) as site:
        site.files[f"/out/{name}"] = site.files[f"/out/{name}"][:-2] + b"\0\n"
        with pytest.raises(UserError, match=f"{name}: expected bytes with SHA-256 .*, twice"):
            look(at(site, tmp_path))
        site.files[f"/out/{name}"] = site.files[f"/out/{name}"][:-1]
        if not name.endswith("accessions"):
            with pytest.raises(UserError, match=r"expected [\w\- ,]+ got .*, twice"):
                at(site, tmp_path).split("train").residues(0)
    assert not [path for path in shards_in(tmp_path / "cache") if path.endswith("tokens")]


def test_what_is_used_stays_and_what_was_used_longest_ago_goes(folder, tmp_path):
    with serve(site_of(folder)) as site:
        split = at(site, tmp_path, cache_gigabytes=BOUND).split("train")
        cache = split.cache
        for shard in (0, 1, 0, 2, 0, 3, 0, 4, 0, 5):
            with cache.held(("train", shard)):
                pass
        asked = [path for path, _ in site.asked if path.endswith("tokens")]
    assert asked == [f"/out/train/0000{shard}.tokens" for shard in range(6)]
    assert cache.touch(("train", 0))
    assert cache.touch(("train", 5))
    assert not cache.touch(("train", 1))
    cache.most_bytes = int(BOUND * 1e9 / 3)  # one shard
    cache.trim()
    assert [cache.touch(("train", shard)) for shard in range(6)] == [*[False] * 5, True]


def test_a_process_lets_go_of_what_was_removed(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("protein_performer.data.fetching.remote_shards._LOOK_EVERY", 0.0)
    with serve(site_of(folder)) as site:
        split = at(site, tmp_path).split("train")
        split.residues(0)
        tokens = split.shard(0)[0]
        split.cache.path(("train", 0), "tokens").unlink()
        before = tokens.tobytes()
        split.residues(split.shard_proteins)  # of the next shard
        assert 0 not in split._mapped
        assert split.shard(0)[0].tobytes() == before


def test_a_folder_larger_than_its_cache_is_told_and_one_that_cannot_be_is_refused(
    folder, tmp_path, caplog
):
    with serve(site_of(folder)) as site:
        with caplog.at_level(logging.WARNING):
            module = at(site, tmp_path, cache_gigabytes=BOUND)
            module.prepare_data()
            module.prepare_data()
        assert caplog.text.count("fetched many times an epoch") == 1
        with pytest.raises(UserError, match=r"data.cache_gigabytes: expected at least .* shard"):
            at(site, tmp_path, cache_gigabytes=1e-6).prepare_data()
        letters = Alphabet(standard="ACGT", rare="N", unknown="N")
        with pytest.raises(UserError, match="/out: prepared with Alphabet"):
            at(site, tmp_path, alphabet=letters).prepare_data()
        site.files["/out/manifest.json"] = b"<html>"
        with pytest.raises(UserError, match=r"/out/manifest.json: damaged"):
            at(site, tmp_path).prepare_data()
        del site.files["/out/manifest.json"]
        with pytest.raises(UserError, match=r"manifest.json: the server answers 404"):
            at(site, tmp_path).prepare_data()


def test_stores_other_than_http_give_the_same_batches(folder, tmp_path):
    store = fsspec.filesystem("memory")
    for path in folder.rglob("*"):
        if path.is_file():
            store.pipe(f"/bucket/out/{path.relative_to(folder)}", path.read_bytes())
    module = data_module(
        tmp_path,
        prepared="memory://bucket/out/",
        cache_dir=tmp_path / "cache",
    )
    assert batches(module) == batches(data_module(tmp_path, prepared=folder))
    assert not [name for name in shards_in(tmp_path / "cache") if "arriving" in name]
