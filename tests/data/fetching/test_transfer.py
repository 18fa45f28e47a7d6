"""Transfers against a server on loopback that misbehaves."""

import email.utils
import hashlib
import json
import random
import time
from itertools import pairwise
from pathlib import Path

import pytest
from data.loopback import Fault, Site, serve

from protein_performer.data.fetching.transfer import Expected, download
from protein_performer.data.fetching.uniprot import download_release, read_release
from protein_performer.data.reading.http_client import LoggedRetry
from protein_performer.errors import UserError

CONTENT = random.Random(0).randbytes(300_000)
MD5 = hashlib.md5(CONTENT).hexdigest()
EXPECTED = Expected(len(CONTENT), MD5)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", waited.append)
    return waited


@pytest.fixture
def retry() -> LoggedRetry:
    """Three attempts."""
    return LoggedRetry(
        total=2,
        backoff_factor=1,
        retry_after_max=100,
        status_forcelist={429, 500, 503},
        raise_on_status=False,
    )


def folder_holds(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


@pytest.mark.parametrize("expected", [EXPECTED, None])
@pytest.mark.parametrize("lengths", [True, False])
def test_fetches_a_file(
    tmp_path: Path, retry: LoggedRetry, expected: Expected | None, lengths: bool
) -> None:
    with serve(Site(files={"/f.gz": CONTENT}, lengths=lengths)) as site:
        url, target = f"{site.url}/f.gz", tmp_path / "new" / "f.gz"
        got = download(url, target, expected=expected, retry=retry, progress=True)
        assert got.read_bytes() == CONTENT
        assert folder_holds(got.parent) == ["f.gz"]
        download(url, target, expected=expected, retry=retry, progress=False)
        assert len(site.asked) == 1  # what is there is kept


def test_goes_on_where_the_connection_broke(
    tmp_path: Path, retry: LoggedRetry, pauses: list[float]
) -> None:
    drops = [Fault(drop_after=100_000), Fault(drop_after=50_000), Fault(drop_after=50_000)]
    target = tmp_path / "f.gz"
    site = Site(files={"/f.gz": CONTENT}, faults=drops)
    site.before_answer = lambda path: pytest.fail("half a file") if target.exists() else None
    with serve(site):
        url = f"{site.url}/f.gz"
        download(url, target, expected=EXPECTED, retry=retry, progress=False)
    assert target.read_bytes() == CONTENT
    begins = [int(part.removeprefix("bytes=").rstrip("-") or 0) for _, part in site.asked]
    gained = [end - begin for begin, end in pairwise(begins)]
    assert [100_000, 50_000, 50_000] >= gained > [60_000, 10_000, 10_000]  # less a chunk each
    assert pauses == []  # each attempt gained ground


def test_begins_anew_where_parts_are_not_served(tmp_path: Path, retry: LoggedRetry) -> None:
    site = Site(files={"/f.gz": CONTENT}, faults=[Fault(drop_after=100_000)], ranges=False)
    with serve(site):
        got = download(f"{site.url}/f.gz", tmp_path / "f.gz", retry=retry, progress=False)
    assert got.read_bytes() == CONTENT
    assert len(site.asked) == 2


@pytest.mark.parametrize("ranges", [True, False])
def test_gives_up_keeps_the_part_and_goes_on_when_called_again(
    tmp_path: Path, retry: LoggedRetry, ranges: bool
) -> None:
    drops = [Fault(drop_after=100_000), *[Fault(drop_after=0)] * 3]
    site = Site(files={"/f.gz": CONTENT}, faults=drops, ranges=ranges)
    with serve(site):
        url, target = f"{site.url}/f.gz", tmp_path / "f.gz"
        with pytest.raises(UserError, match=r"broke again and again.*goes on"):
            download(url, target, retry=retry, progress=False)
        assert folder_holds(tmp_path) == ["f.gz.part", "f.gz.part.note"]
        download(url, target, retry=retry, progress=False)
    assert target.read_bytes() == CONTENT
    assert site.asked[-1][1].startswith("bytes=") or not ranges
    assert folder_holds(tmp_path) == ["f.gz"]


def test_a_file_that_changed_meanwhile_is_fetched_anew(tmp_path: Path, retry: LoggedRetry) -> None:
    drops = [Fault(drop_after=100_000), *[Fault(drop_after=0)] * 3]
    site = Site(files={"/f.gz": CONTENT[::-1]}, faults=drops)
    with serve(site):
        url, target = f"{site.url}/f.gz", tmp_path / "f.gz"
        with pytest.raises(UserError, match="broke again"):
            download(url, target, retry=retry, progress=False)
        site.files["/f.gz"] = CONTENT
        download(url, target, retry=retry, progress=False)
    assert target.read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_fetched_anew(tmp_path: Path, retry: LoggedRetry) -> None:
    (tmp_path / "f.gz.part").write_bytes(CONTENT + b"more")
    with serve(Site(files={"/f.gz": CONTENT})) as site:
        url, target = f"{site.url}/f.gz", tmp_path / "f.gz"
        (tmp_path / "f.gz.part.note").write_text(f'"{MD5}"')
        download(url, target, retry=retry, progress=False)
    assert target.read_bytes() == CONTENT


def test_waits_as_told_and_backs_off_otherwise(
    tmp_path: Path, retry: LoggedRetry, pauses: list[float]
) -> None:
    soon = email.utils.formatdate(time.time() + 50, usegmt=True)
    faults = [
        Fault(429, {"Retry-After": "7"}),
        Fault(503, {"Retry-After": soon}),
        Fault(drop_after=100_000),
        Fault(429, {"Retry-After": "100000"}),
        Fault(500),
    ]
    site = Site(files={"/f.gz": CONTENT}, faults=faults)
    with serve(site):
        download(f"{site.url}/f.gz", tmp_path / "f.gz", retry=retry, progress=False)
    assert pauses[0] == 7
    assert 30 < pauses[1] <= 50
    assert pauses[2:] == [100, 2]  # bounded by retry_after_max; the second in a row


@pytest.mark.parametrize(
    ("faults", "message", "asked"),
    [
        ([Fault(500)] * 3, r"answers 500 ", 3),
        ([Fault(429)] * 3, r"answers 429", 3),
        ([Fault(403)], r"answers 403 .*Is the address right", 1),
        ([Fault(404)], r"answers 404", 1),
    ],
)
def test_says_why_the_server_refused(
    tmp_path: Path, retry: LoggedRetry, faults: list[Fault], message: str, asked: int
) -> None:
    site = Site(files={"/f.gz": CONTENT}, faults=faults)
    with serve(site), pytest.raises(UserError, match=message):
        download(f"{site.url}/f.gz", tmp_path / "f.gz", retry=retry, progress=False)
    assert len(site.asked) == asked
    assert folder_holds(tmp_path) == []


def test_says_that_a_server_cannot_be_reached(tmp_path: Path, retry: LoggedRetry) -> None:
    with serve(Site()) as site:
        url = site.url
    with pytest.raises(UserError, match="cannot be reached"):
        download(f"{url}/f.gz", tmp_path / "f.gz", retry=retry, progress=False)
    with pytest.raises(UserError, match="begins with http"):
        download("file:///etc/hostname", tmp_path / "f.gz", retry=retry, progress=False)


@pytest.mark.parametrize(
    "expected", [Expected(len(CONTENT), "0" * 32), Expected(7, MD5), Expected(10**6, MD5)]
)
def test_other_bytes_than_expected_are_thrown_away(
    tmp_path: Path, retry: LoggedRetry, expected: Expected
) -> None:
    with serve(Site(files={"/f.gz": CONTENT})) as site:
        url = f"{site.url}/f.gz"
        with pytest.raises(UserError, match=r"expected .* bytes with MD5 .* thrown away"):
            download(url, tmp_path / "f.gz", expected=expected, retry=retry, progress=False)
    assert folder_holds(tmp_path) == []


def test_a_file_of_another_release_is_not_taken_for_this_one(tmp_path: Path) -> None:
    (tmp_path / "f.gz").write_bytes(b"old")
    with pytest.raises(UserError, match="there already, with 3 bytes"):
        download("http://127.0.0.1:1/f.gz", tmp_path / "f.gz", expected=EXPECTED)


def metalink(*, version: int = 3, md5: str = MD5) -> bytes:
    files = "".join(
        f'<file name="{name}"><size>{len(CONTENT)}</size><verification>'
        f'<hash type="md5">{md5}</hash></verification><resources><url>x</url></resources></file>'
        for name in ("uniprot_trembl.fasta.gz", "uniprot_sprot.dat.gz")
    )
    return (
        f'<?xml version="1.0"?><metalink version="{version}.0" xmlns="http://www.metalinker.org/">'
        f"<version>2026_04</version><files>{files}</files></metalink>"
    ).encode()


def test_fetches_a_release_with_its_origin(tmp_path: Path, retry: LoggedRetry) -> None:
    files = {"/up/RELEASE.metalink": metalink(), "/up/uniprot_trembl.fasta.gz": CONTENT}
    with serve(Site(files=files, faults=[Fault(503)])) as site:
        source = f"{site.url}/up/"
        release = read_release(source, retry)
        path = download_release("trembl", tmp_path, source=source, retry=retry, progress=False)
        assert release.version == "2026_04"
        assert release.files["uniprot_sprot.dat.gz"] == EXPECTED
        with pytest.raises(UserError, match=r"to list uniprot_sprot.fasta.gz .* found uniprot_"):
            download_release("swissprot", tmp_path, source=source, retry=retry)
    assert path == tmp_path / "uniprot_trembl.fasta.gz"
    assert path.read_bytes() == CONTENT
    origin = json.loads((tmp_path / "uniprot_trembl.fasta.gz.json").read_text())
    assert (origin["release"], origin["md5"], origin["size"]) == ("2026_04", *EXPECTED[::-1])
    nowhere = "http://127.0.0.1:1"  # once it is there, nothing is asked of the network
    assert download_release("trembl", tmp_path, source=nowhere, progress=False) == path


def test_a_release_that_does_not_fit_its_metalink_is_refused(
    tmp_path: Path, retry: LoggedRetry
) -> None:
    files = {"/RELEASE.metalink": metalink(md5="f" * 32), "/uniprot_sprot.dat.gz": CONTENT}
    with serve(Site(files=files)) as site:
        with pytest.raises(UserError, match=f"expected .* MD5 {'f' * 32}, got .* MD5 {MD5}"):
            download_release(
                *("swissprot", tmp_path),
                format="dat",
                source=site.url,
                retry=retry,
                progress=False,
            )
        site.files["/RELEASE.metalink"] = b"<html>busy"
        with pytest.raises(UserError, match="expected XML"):
            read_release(site.url, retry)
    assert folder_holds(tmp_path) == []


def test_a_link_in_the_place_of_the_part_is_not_written_through(
    tmp_path: Path, retry: LoggedRetry
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "f.gz.part").symlink_to(victim)
    refused = pytest.raises(UserError, match=r"f\.gz\.part: .*Remove it")
    with serve(Site(files={"/f.gz": CONTENT})) as site, refused:
        download(f"{site.url}/f.gz", tmp_path / "f.gz", retry=retry, progress=False)
    assert victim.read_text() == "mine"
