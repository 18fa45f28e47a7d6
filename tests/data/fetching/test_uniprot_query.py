"""Paged answers of UniProt's REST service, imitated on loopback."""

import gzip
import json
import re
from pathlib import Path

import pytest
from data.fetching.uniprot_pages import FIRST, QUERY, TEXT, paged
from data.loopback import Fault, Site, serve

from protein_performer.data.fetching.uniprot_query import download_query
from protein_performer.data.reading.http_client import LoggedRetry
from protein_performer.data.reading.reader import read_records
from protein_performer.errors import UserError


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def retry() -> LoggedRetry:
    return LoggedRetry(total=2, status_forcelist={429, 500}, raise_on_status=False)


def visible(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir() if each.suffix != ".lock")


@pytest.mark.parametrize("name", ["q.fasta", "q.fasta.gz"])
def test_fetches_all_pages_through_trouble(tmp_path: Path, retry: LoggedRetry, name: str) -> None:
    faults = [Fault(429), Fault(drop_after=10), Fault(500)]
    with serve(Site(faults=faults)) as site:
        paged(site)
        path = download_query(QUERY, tmp_path / name, service=site.url, retry=retry, progress=False)
    content = path.read_bytes()
    assert (gzip.decompress(content) if name.endswith(".gz") else content) == TEXT
    origin = json.loads((tmp_path / f"{name}.json").read_text())
    assert (origin["query"], origin["entries"], origin["release"]) == (QUERY, 9, "2026_A")
    assert len(list(read_records(path))) == 9
    assert visible(tmp_path) == [name, f"{name}.json"]
    nowhere = "http://127.0.0.1:1"  # once it is there, nothing is asked of the network
    assert download_query(QUERY, path, service=nowhere, progress=False) == path
    with pytest.raises(UserError, match="as the answer to organism_id"):
        download_query("other", path, service=nowhere, progress=False)


def test_goes_on_with_the_page_that_broke(tmp_path: Path, retry: LoggedRetry) -> None:
    target = tmp_path / "q.fasta.gz"
    with serve(Site()) as site:
        paged(site)
        asked = []
        site.before_answer = lambda path: asked.append(path)
        good = site.pages.pop("/uniprotkb/search?cursor=two")
        with pytest.raises(UserError, match="answers 404"):
            download_query(QUERY, target, service=site.url, retry=retry, progress=False)
        assert not target.exists()
        with target.with_name("q.fasta.gz.part").open("ab") as part:
            part.write(b"half a page that was not noted")
        site.pages["/uniprotkb/search?cursor=two"] = good
        asked.clear()
        download_query(QUERY, target, service=site.url, retry=retry, progress=False)
    assert asked == ["/uniprotkb/search?cursor=two"]
    assert gzip.decompress(target.read_bytes()) == TEXT


def test_another_query_does_not_go_on_with_the_pages_of_the_first(
    tmp_path: Path, retry: LoggedRetry
) -> None:
    target = tmp_path / "q.fasta"
    with serve(Site()) as site:
        paged(site)
        site.pages["/uniprotkb/search?query=other&format=fasta&size=500"] = (
            b">one\nMKT\n",
            {"X-Total-Results": "1"},
        )
        del site.pages["/uniprotkb/search?cursor=two"]
        with pytest.raises(UserError, match="answers 404"):
            download_query(QUERY, target, service=site.url, retry=retry, progress=False)
        download_query("other", target, service=site.url, retry=retry, progress=False)
    assert target.read_bytes() == b">one\nMKT\n"


@pytest.mark.parametrize(
    ("total", "releases", "message"),
    [
        (10, "AAA", "expected 10 entries, got 9"),
        (9, "AAB", "release changed from 2026_A to 2026_B"),
    ],
)
def test_never_passes_part_of_an_answer_off_as_the_whole(
    tmp_path: Path, retry: LoggedRetry, total: int, releases: str, message: str
) -> None:
    with serve(Site()) as site:
        paged(site, total=total, releases=releases)
        with pytest.raises(UserError, match=re.escape(message)):
            download_query(
                QUERY, tmp_path / "q.fasta", service=site.url, retry=retry, progress=False
            )
    assert visible(tmp_path) == []


def test_refuses_a_query_without_a_match_and_a_target_that_is_there(
    tmp_path: Path, retry: LoggedRetry
) -> None:
    with serve(Site()) as site:
        site.pages[FIRST] = (b"", {"X-Total-Results": "0"})
        with pytest.raises(UserError, match="Is the query right"):
            download_query(
                QUERY, tmp_path / "q.fasta", service=site.url, retry=retry, progress=False
            )
    (tmp_path / "q.fasta").touch()
    with pytest.raises(UserError, match="there already, as the answer to an unknown query"):
        download_query(QUERY, tmp_path / "q.fasta", progress=False)
