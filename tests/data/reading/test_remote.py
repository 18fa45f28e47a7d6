"""Sources at addresses: of a server on loopback, and of stores that fsspec reads."""

import gzip
import sys
from pathlib import Path

import fsspec
import pytest
from data.loopback import Fault, Site, serve

from protein_performer.data.reading import sources
from protein_performer.data.reading.reader import read_records
from protein_performer.data.reading.record import ReadCounts
from protein_performer.errors import UserError

TEXT = "".join(f">tr|A{n}|A{n}_TEST\n{'ACDEFGHIKL' * 30}\n" for n in range(50)).encode()
NAMES = [f"A{n}" for n in range(50)]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib3.util.retry.time.sleep", lambda seconds: None)


def names(source: str, counts: ReadCounts | None = None) -> list[str]:
    return [record.accession for record in read_records(source, counts=counts)]


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("name", ["t.fasta", "t.fasta.gz"])
def test_reads_over_http(name: str, ranges: bool) -> None:
    content = gzip.compress(TEXT) if name.endswith(".gz") else TEXT
    with serve(Site(files={f"/{name}": content}, ranges=ranges)) as site:
        counts = ReadCounts()
        assert names(f"{site.url}/{name}", counts) == NAMES
        assert counts.bytes_read == len(content)
        assert sources.size(f"{site.url}/{name}") == len(content)


def test_http_query_is_no_pattern() -> None:
    with serve(Site(files={"/stream": TEXT})) as site:
        assert names(f"{site.url}/stream?query=(length:[1%20TO%20*])&format=fasta") == NAMES


def test_takes_up_a_broken_connection() -> None:
    site = Site(files={"/t.fasta": TEXT}, faults=[Fault(drop_after=1000), Fault(status=503)])
    with serve(site):
        assert names(f"{site.url}/t.fasta") == NAMES
    assert len(site.asked) >= 3


@pytest.mark.parametrize("ranges", [True, False])
def test_a_connection_that_stays_broken_is_an_error(ranges: bool) -> None:
    faults = [Fault(drop_after=1000), *[Fault(drop_after=0)] * 9]
    site = Site(files={"/t.fasta": TEXT}, faults=faults, ranges=ranges)
    with serve(site), pytest.raises(UserError, match=r"the connection broke .*downloa"):
        names(f"{site.url}/t.fasta")


def test_what_is_not_there_is_an_error() -> None:
    with serve(Site()) as site, pytest.raises(UserError, match="the server answers 404"):
        names(f"{site.url}/t.fasta")
    with pytest.raises(UserError, match=r"Expected http://"):
        names("gopherspace://somewhere/t.fasta")


def test_reads_local_addresses_and_patterns_of_stores(tmp_path: Path) -> None:
    (tmp_path / "t.fasta").write_bytes(TEXT)
    assert names(f"file://{tmp_path}/t.fasta") == NAMES
    store = fsspec.filesystem("memory")
    for part in (2, 1):
        store.pipe(f"/proteins/{part}.fasta", f">part{part}\nMKT\n".encode())
    assert names("memory://proteins/*.fasta") == ["part1", "part2"]
    with pytest.raises(UserError, match="nothing there matches"):
        names("memory://proteins/*.dat")


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UserError, match=r"pip install 'protein-performer\[remote\]'"):
        names("s3://b/t")
