"""UniProt's own addresses: whole releases, checked against their published checksums.

Data of UniProt are CC BY 4.0: cite the UniProt Consortium.
"""

import logging
import os
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Literal, NamedTuple

from urllib3.util import Retry

from protein_performer.addresses import below, public_address
from protein_performer.data.fetching.transfer import (
    Expected,
    download,
    origin_path,
    write_origin,
)
from protein_performer.data.reading.http_client import RETRY, read_whole
from protein_performer.errors import UserError

log = logging.getLogger(__name__)

# Mirrors hold the same files: https://ftp.ebi.ac.uk/pub/databases/uniprot/..., and
# https://ftp.expasy.org/databases/uniprot/...
KNOWLEDGEBASE = (
    "https://ftp.uniprot.org/pub/databases/uniprot/current_release/knowledgebase/complete"
)


class Release(NamedTuple):
    """A folder of UniProt's file server.

    Attributes:
        version: such as "2026_04"; "" if the folder does not state it.
        files: name -> size and checksum.
    """

    version: str
    files: dict[str, Expected]


def read_release(folder: str, retry: Retry = RETRY) -> Release:
    """Sizes and checksums of the files of a folder, from its `RELEASE.metalink`.

    Raises: UserError if it cannot be fetched or read.
    """
    url = below(folder, "RELEASE.metalink")
    text = read_whole(url, retry=retry)[0]
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise UserError(
            f"{public_address(url)}: expected XML (metalink), got {text[:40]!r} ({error})"
        ) from None
    files = {}
    for file in root.iterfind(".//{*}file"):  # versions 3 and 4 differ in the namespace
        size = file.findtext("{*}size", "").strip()
        md5 = file.findtext(".//{*}hash[@type='md5']", "").strip()
        if size.isdigit() and md5:
            files[file.get("name", "")] = Expected(int(size), md5.lower())
    return Release(root.findtext(".//{*}version", "").strip(), files)


def download_release(
    name: Literal["trembl", "swissprot"],
    folder: str | os.PathLike[str],
    *,
    format: Literal["fasta", "dat"] = "fasta",
    source: str | None = None,
    retry: Retry = RETRY,
    progress: bool = True,
) -> Path:
    """Fetch TrEMBL or Swiss-Prot of the current release, checked against its size and MD5.

    Beside the file stands `NAME.json` with address, release, size and MD5. Called again after a
    break it goes on (see `transfer.download`); once the file is there, nothing is asked of the
    network: to fetch a newer release, move it away.

    Args:
        name: which half of UniProtKB. TrEMBL's FASTA is some tens of gigabytes, compressed.
        folder: where to put it.
        format: "fasta", or "dat" for flat files, which state Pfam families and are several times
            larger.
        source: the folder of a mirror; None for that of UniProt's file server.
        retry: how often to try, and how long to wait.
        progress: whether to show a bar.
    """
    file = f"uniprot_{'sprot' if name == 'swissprot' else name}.{format}.gz"
    path = Path(folder) / file
    if path.exists() and origin_path(path).exists():
        log.info("%s is there already: %s", path, origin_path(path).read_text())
        return path
    source = source or KNOWLEDGEBASE
    release = read_release(source, retry)
    if file not in release.files:
        raise UserError(
            f"{public_address(source)}: expected its RELEASE.metalink to list {file} with size"
            f" and MD5, found {', '.join(sorted(release.files)) or 'no file at all'}"
        )
    url, expected = below(source, file), release.files[file]
    _announce(path, url, expected, release.version)
    download(url, path, expected=expected, retry=retry, progress=progress)
    write_origin(path, url=public_address(url), release=release.version, **expected._asdict())
    return path


def _announce(path: Path, url: str, expected: Expected, version: str) -> None:
    """Say what will be fetched, and refuse what the disk cannot hold."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    there = sum(each.stat().st_size for each in (part, path) if each.exists())
    missing, free = max(0, expected.size - there), shutil.disk_usage(path.parent).free
    log.info(
        f"fetching {path.name} of release {version or 'unknown'} ({expected.size / 1e9:.3g} GB, of"
        f" which {missing / 1e9:.3g} are missing) from {public_address(url)} into {path.parent}"
    )
    if missing > free:
        raise UserError(
            f"{path.parent}: expected {missing:,} bytes free on its disk for {path.name}, got"
            f" {free:,}. Name a folder on a larger one."
        )
