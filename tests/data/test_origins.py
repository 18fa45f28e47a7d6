"""Where shards come from: sources, a prepared folder, UniProt; the batches are the same."""

import gzip
import hashlib
import json
import logging
from functools import partial

import pytest
from data.fetching.uniprot_pages import FIRST, PAGES, QUERY, paged
from data.loopback import Fault, Site, serve
from data.made_up import batches, data_module, sequences, write_flat
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from runs import ROOT

from protein_performer.alphabet import Alphabet
from protein_performer.data.fetching.uniprot import download_release
from protein_performer.data.fetching.uniprot_query import download_answer
from protein_performer.data.manifest import MANIFEST
from protein_performer.data.preparing.pipeline import prepare
from protein_performer.data.reading.http_client import LoggedRetry
from protein_performer.data.reading.pfam import PAPER_OOD_FAMILIES
from protein_performer.data.splits import SplitRule
from protein_performer.errors import UserError

RULE = SplitRule(val=0.1, test=0.1)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def retry():
    return LoggedRetry(total=2, status_forcelist={429, 500, 503}, raise_on_status=False)


@pytest.fixture
def prepared(tmp_path):
    """A folder that was prepared, and the data module over its sources."""
    module = data_module(tmp_path, residue_policy="skip")
    prepare([str(tmp_path / "proteins.fasta")], tmp_path / "out", module.preprocessing)
    return tmp_path / "out", module


def test_a_prepared_folder_gives_the_batches_of_its_sources(prepared, tmp_path):
    folder, module = prepared
    other = SplitRule(val=0.4, test=0.4)
    ours = data_module(tmp_path, prepared=folder, sources="nowhere", splits=other)
    assert batches(ours) == batches(module)
    assert ours.preprocessing == module.preprocessing
    assert ours.test_names == ("test", "ood")
    assert ours.state_dict() == module.state_dict()
    assert "proteins" in str(ours.report())


def test_a_prepared_folder_is_a_config_key(prepared):
    folder, module = prepared
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", [f"data.prepared={folder}", "data.batch_tokens=1500"])
    ours = instantiate(config.data)
    assert ours.folder == folder
    assert ours.preprocessing == module.preprocessing
    assert len(ours.train_dataloader()) == ours.steps_per_epoch


def test_another_alphabet_than_the_folders_is_refused(prepared, tmp_path):
    folder, _ = prepared
    letters = Alphabet(standard="ACGT", rare="N", unknown="N")
    with pytest.raises(UserError, match=r"prepared with Alphabet.*data.alphabet=null"):
        data_module(tmp_path, prepared=folder, alphabet=letters).prepare_data()
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["definition"]["alphabet"]["rare"] = "XBJOUZ"
    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert data_module(tmp_path, prepared=folder).alphabet == Alphabet(rare="XBJOUZ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prepared": "nowhere"}, "nowhere: not a prepared folder"),
        ({"splits": None}, "data.splits: expected a rule"),
        ({"query": "reviewed:true"}, "data.query: expected data.download"),
        ({"prepared": "http://127.0.0.1:1/out"}, "data.cache_dir: expected a folder"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        data_module(tmp_path, **options).prepare_data()


def test_other_prepared_forms_of_the_same_sources_are_told(tmp_path, caplog):
    data_module(tmp_path).prepare_data()
    first = data_module(tmp_path).folder
    older = first.with_name("proteins-0123456789ab")
    older.mkdir()
    (older / MANIFEST).write_text('{"definition": {"format": 1}}')
    first.with_name("proteins-notes").mkdir()
    with caplog.at_level(logging.INFO):
        data_module(tmp_path, residue_policy="skip").prepare_data()
    assert "2 other prepared form(s) of the same sources are kept there" in caplog.text
    assert "rm -r " + " ".join(sorted([str(first), str(older)])) in caplog.text
    assert first.is_dir()
    assert older.is_dir()


ENTRIES = [
    (f"A0A{i:03}", each, (PAPER_OOD_FAMILIES[i % 20],) if i % 7 == 0 else ())
    for i, each in enumerate(sequences(300, longest=60))
]


def release(tmp_path, *, md5=None):
    """Files of UniProt's server: Swiss-Prot's flat file and the checksums."""
    path = write_flat(tmp_path / "made_up.dat", ENTRIES)
    content = gzip.compress(path.read_bytes(), mtime=0)
    md5 = md5 or hashlib.md5(content).hexdigest()
    text = (
        '<metalink><version>2026_04</version><file name="uniprot_sprot.dat.gz">'
        f'<size>{len(content)}</size><hash type="md5">{md5}</hash></file></metalink>'
    )
    return {"/up/RELEASE.metalink": text.encode(), "/up/uniprot_sprot.dat.gz": content}


def swissprot(tmp_path, site, retry, **options):
    """A data module that fetches Swiss-Prot."""
    rule = SplitRule(val=0.1, test=0.1, families="paper")
    fetch = partial(
        download_release,
        *("swissprot", tmp_path / "fetched"),
        format="dat",
        source=f"{site.url}/up",
        retry=retry,
        progress=False,
    )
    return data_module(tmp_path, sources=None, splits=rule, download=fetch, **options)


def test_a_release_is_fetched_through_trouble_and_once(tmp_path, retry, caplog):
    faults = [Fault(500), Fault(), Fault(429, {"Retry-After": "1"}), Fault(drop_after=1000)]
    with serve(Site(files=release(tmp_path), faults=faults)) as site:
        with caplog.at_level(logging.INFO):
            module = swissprot(tmp_path, site, retry)
            module.prepare_data()
        asked = len(site.asked)
        assert site.asked[-1][1] == "bytes=1000-"
        again = swissprot(tmp_path, site, retry)
        again.setup("fit")
        assert len(site.asked) == asked
    announced = caplog.text.index("fetching uniprot_sprot.dat.gz of release 2026_04")
    assert announced < caplog.text.index("1000 bytes read")  # before it began
    assert module.folder == again.folder
    assert module.folder.parent == tmp_path / "fetched" / "prepared"
    held_out = {accession for accession, _, families in ENTRIES if families}
    ood = module.split("ood")
    assert {ood.accession(int(i)) for i in ood.by_length()} == held_out


def test_a_release_with_a_wrong_checksum_is_refused(tmp_path, retry):
    wrong = f"MD5 {'0' * 32}.*thrown away"
    with (
        serve(Site(files=release(tmp_path, md5="0" * 32))) as site,
        pytest.raises(UserError, match=wrong),
    ):
        swissprot(tmp_path, site, retry).prepare_data()
    assert [path.suffix for path in (tmp_path / "fetched").iterdir()] == [".lock"]


def test_a_release_that_the_disk_cannot_hold_is_not_begun(tmp_path, retry, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 99}))
    with serve(Site(files=release(tmp_path))) as site:
        with pytest.raises(UserError, match=r"expected [\d,]+ bytes free .* got 99"):
            swissprot(tmp_path, site, retry).prepare_data()
        assert [path for path, _ in site.asked] == ["/up/RELEASE.metalink"]


def test_a_broken_download_goes_on_in_the_next_run(tmp_path, retry):
    site = Site(files=release(tmp_path), faults=[Fault(), Fault(drop_after=1000)])
    site.faults += [Fault(drop_after=0)] * 3
    with serve(site):
        with pytest.raises(UserError, match="the same command goes on"):
            swissprot(tmp_path, site, retry).prepare_data()
        swissprot(tmp_path, site, retry).prepare_data()
    assert site.asked[-1][1] == "bytes=1000-"


def test_the_answer_to_a_query_is_fetched_once_for_each_query(tmp_path, retry):
    faults = [Fault(500), Fault(drop_after=10), Fault(429, {"Retry-After": "1"})]
    with serve(Site(faults=faults)) as site:
        paged(site)
        fetch = partial(
            download_answer,
            folder=tmp_path / "answers",
            service=site.url,
            retry=retry,
            progress=False,
        )
        options = {"sources": None, "splits": RULE, "download": fetch}
        module = data_module(tmp_path, query=QUERY, **options)
        assert module.manifest["read"]["records"] == 9
        (name,) = [path.name for path in (tmp_path / "answers").glob("*.gz")]
        assert name.startswith("organism_id_9606_AND_reviewed_true-")
        asked = len(site.asked)
        assert data_module(tmp_path, query=QUERY, **options).manifest == module.manifest
        assert len(site.asked) == asked
        site.pages[FIRST.replace("9606", "1")] = (PAGES[0], {"X-Total-Results": "3"})
        other = data_module(tmp_path, query=QUERY.replace("9606", "1"), **options)
        assert other.manifest["read"]["records"] == 3


@pytest.mark.parametrize(
    ("override", "file"),
    [
        ("data=trembl", "data/trembl/uniprot_trembl.dat.gz"),
        ("data=swissprot", "data/swissprot/uniprot_sprot.dat.gz"),
    ],
)
def test_the_ready_configs_fetch_releases(tmp_path, monkeypatch, override, file):
    """What is there with its origin is taken without a question to the network."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(write_flat(tmp_path / "made_up.dat", ENTRIES).read_bytes()))
    path.with_name(path.name + ".json").write_text("{}")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", [override])
    module = instantiate(config.data)
    assert module.manifest["read"]["records"] == 300
    assert module.preprocessing.splits.families == PAPER_OOD_FAMILIES


def test_the_ready_config_of_a_query_asks_it(tmp_path, monkeypatch, retry):
    with serve(Site()) as site:
        paged(site)
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            config = compose(
                "train",
                [
                    "data=uniprot_query",
                    f"data.query='{QUERY}'",
                    f"data.download.folder={tmp_path}",
                    f"+data.download.service={site.url}",
                ],
            )
        assert instantiate(config.data).manifest["read"]["records"] == 9
