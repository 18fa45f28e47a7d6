"""A password or a signature in a source's address: sent, and nowhere else."""

import io
import logging
import subprocess
import sys

import pytest
from data.loopback import Fault, Site, serve
from data.made_up import data_module
from runs import ROOT, SMALL, write_proteins

from protein_performer.data.fetching.transfer import download
from protein_performer.data.fetching.uniprot_query import download_query
from protein_performer.data.reading.http_client import LoggedRetry
from protein_performer.data.reading.reader import read_records
from protein_performer.errors import UserError

SECRET = "s3cr3t"


def signed(site, path, secret=SECRET):
    """An address on the site with a password and a signature."""
    host = site.url.removeprefix("http://")
    return f"http://me:{secret}-pw@{host}{path}?X-Amz-Credential=me&X-Amz-Signature={secret}-sig"


def files_with_secrets(folder):
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and SECRET.encode() in path.read_bytes() + str(path).encode()
    ]


def train(run_dir, address, *options):
    """train.py as a user calls it; what it printed."""
    command = [
        *(sys.executable, "train.py", *SMALL, f"hydra.run.dir={run_dir}"),
        f"data.sources=['{address}']",
        f"data.cache_dir={run_dir.parent}/cache",
        *options,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_a_run_stores_and_prints_no_secret_and_goes_on_with_another_signature(tmp_path):
    content = write_proteins(tmp_path / "source").read_bytes()
    options = ["data.mode=stream", "data.head=400", "data.buffer=128"]
    with serve(Site(files={"/proteins.fasta": content})) as site:
        code, printed = train(tmp_path / "run", signed(site, "/proteins.fasta"), *options)
        assert code == 0, printed
        assert SECRET in site.asked[0][0]
        assert SECRET not in printed
        assert not files_with_secrets(tmp_path)
        prepared = list((tmp_path / "cache").iterdir())
        again = signed(site, "/proteins.fasta", f"{SECRET}2")
        more = [*options, "ckpt_path=last", "trainer.max_steps=8"]
        code, printed = train(tmp_path / "run", again, *more)
        assert code == 0, printed
    assert SECRET not in printed
    assert not files_with_secrets(tmp_path)
    assert list((tmp_path / "cache").iterdir()) == prepared


def test_prepared_shards_hold_no_secret_and_are_those_of_another_signature(tmp_path):
    data_module(tmp_path).prepare_data()  # writes the proteins
    content, folders = (tmp_path / "proteins.fasta").read_bytes(), []
    with serve(Site(files={"/proteins.fasta": content})) as site:
        for secret in (SECRET, f"{SECRET}2"):
            sources = [signed(site, "/proteins.fasta", secret)]
            module = data_module(tmp_path, sources=sources, cache_dir=tmp_path / "cache")
            module.prepare_data()
            folders.append(module.folder)
    assert folders[0] == folders[1]
    assert not files_with_secrets(tmp_path)


FAULTS = {
    "refused": [Fault(403)],
    "broken": [Fault(500)] * 9,
    "cut": [Fault(drop_after=3)] * 9,
    "no FASTA": [],
    "gone": None,
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("fetch", [read_records, download, download_query])
def test_no_error_and_no_log_shows_a_secret(tmp_path, monkeypatch, faults, fetch):
    monkeypatch.setattr("urllib3.util.retry.time.sleep", lambda seconds: None)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    logged = io.StringIO()
    handler = logging.StreamHandler(logged)
    logging.getLogger("protein_performer").addHandler(handler)
    retry = LoggedRetry(total=2, status_forcelist={500}, raise_on_status=False)
    try:
        with serve(Site(files={"/a.gz": b"no FASTA"}, faults=list(faults or []))) as site:
            address = signed(site, "/a.gz" if faults is not None else "/gone")
            try:
                if fetch is read_records:
                    list(read_records(address))
                elif fetch is download:
                    download(address, tmp_path / "a.gz", retry=retry, progress=False)
                else:
                    download_query("x", tmp_path / "q", service=address, retry=retry)
            except UserError as error:
                logged.write(str(error))
            assert site.asked
    finally:
        logging.getLogger("protein_performer").removeHandler(handler)
    assert fetch is download or "http://127.0.0.1" in logged.getvalue()
    assert SECRET not in logged.getvalue()
    assert not files_with_secrets(tmp_path)


def test_an_address_that_is_none_shows_no_secret():
    for address in (f"http://me:{SECRET}@[nowhere/a.gz", f"gopher://me:{SECRET}@host/a.gz"):
        with pytest.raises(UserError) as error:
            list(read_records(address))
        assert SECRET not in str(error.value)
