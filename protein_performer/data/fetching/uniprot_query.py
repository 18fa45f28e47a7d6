"""Answers of UniProt's REST service, page by page, to a file that goes on after a break.

Data of UniProt are CC BY 4.0: cite the UniProt Consortium.
"""

import gzip
import hashlib
import json
import logging
import os
import re
import urllib.parse
from pathlib import Path
from typing import NamedTuple

from rich.progress import Progress
from urllib3.util import Retry

from protein_performer.addresses import public_address
from protein_performer.data.fetching.transfer import (
    Part,
    fetch_once,
    origin_path,
    write_origin,
)
from protein_performer.data.reading.http_client import RETRY, read_whole
from protein_performer.errors import UserError

log = logging.getLogger(__name__)

REST = "https://rest.uniprot.org"
PAGE = 500  # entries of a page, the most that the service gives

_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')


class _State(NamedTuple):
    """How far a query has come; noted beside the pages that have arrived."""

    first: str  # public address of the first page: what the state belongs to
    next: str  # path and parameters of the page to fetch; "" at the end
    bytes: int = 0  # of the pages before it, as stored
    entries: int = 0
    total: int = 0
    release: str = ""


def download_query(
    query: str,
    target: str | os.PathLike[str],
    *,
    service: str = REST,
    retry: Retry = RETRY,
    progress: bool = True,
) -> Path:
    """Fetch the FASTA entries that match a query, such as `organism_id:9606 AND reviewed:true`.

    The pages go to `target.part` one by one; called again after a break it goes on with the page
    that broke. The target is there only when all entries are; beside it stands `TARGET.json` with
    query, entries and release. Once it is there, nothing is asked of the network.

    Args:
        query: in UniProt's query language.
        target: a file's name, gzipped (a member a page) if it ends in `.gz`.
        service: address of UniProt's REST service.
        retry: how often to try, and how long to wait.
        progress: whether to show a bar.

    Returns: the target's path.
    Raises: UserError if the service refuses the query, nothing matches, the target is the answer
        to another query, or the release changes between two pages (what has arrived is thrown
        away).
    """
    target = Path(target)

    def fill(part: Part) -> None:
        _fetch(part, query, service, retry, progress)

    return fetch_once(target, fill, lambda: _keep(target, query))


def download_answer(
    query: str,
    folder: str | os.PathLike[str],
    *,
    service: str = REST,
    retry: Retry = RETRY,
    progress: bool = True,
) -> Path:
    """As `download_query`, into a file of a folder that is named after the query."""
    words = re.sub(r"[^A-Za-z0-9]+", "_", query).strip("_")[:40]
    digest = hashlib.sha256(query.encode()).hexdigest()[:8]
    target = Path(folder) / f"{words}-{digest}.fasta.gz"
    return download_query(query, target, service=service, retry=retry, progress=progress)


def _fetch(part: Part, query: str, service: str, retry: Retry, progress: bool) -> None:
    """Get all pages, and say where they are from."""
    target = part.target
    parameters = {"query": query, "format": "fasta", "size": PAGE}
    first = f"{service.rstrip('/')}/uniprotkb/search?{urllib.parse.urlencode(parameters)}"
    log.info("fetching the answer to %s from %s into %s", query, public_address(service), target)
    state = _noted(part, first) or _State(public_address(first), _without_host(first))
    with Progress(disable=not progress) as bar:
        task = bar.add_task(target.name, total=None)
        while state.next:
            state = _fetch_page(part, state, first, retry)
            bar.update(task, completed=state.entries, total=state.total)
    if state.entries != state.total or not state.entries:
        part.throw_away()
        raise UserError(
            f"{state.first}: expected {state.total:,} entries, got {state.entries:,}."
            + (" Run the same command again." if state.total else " Is the query right?")
        )
    write_origin(target, query=query, url=state.first, entries=state.entries, release=state.release)


def _keep(target: Path, query: str) -> None:
    origin = origin_path(target)
    known = json.loads(origin.read_text()).get("query") if origin.exists() else None
    if known != query:
        raise UserError(
            f"{target}: there already, as the answer to {known or 'an unknown query'}, not to"
            f" {query}. Name another file, or move it away."
        )
    log.info("%s is there already: %s", target, origin.read_text())


def _noted(part: Part, first: str) -> _State | None:
    """What an earlier run noted of the same query; None where its pages are of no use."""
    try:
        state = _State(**json.loads(part.note))
    except (ValueError, TypeError):
        return None
    return state if state.first == public_address(first) and state.bytes <= part.size else None


def _fetch_page(part: Part, before: _State, first: str, retry: Retry) -> _State:
    """Add one page, then note that it is there."""
    # Never at another host than the first page, whatever the answer says.
    page, headers = read_whole(urllib.parse.urljoin(first, before.next), retry=retry)
    release = headers.get("X-UniProt-Release", "")
    if before.bytes and release != before.release:
        part.throw_away()
        raise UserError(
            f"{before.first}: UniProt's release changed from {before.release} to {release}"
            " between two pages; what had arrived was thrown away. Run the same command again."
        )
    link = _NEXT.search(headers.get("Link", ""))
    stored = gzip.compress(page, mtime=0) if part.target.suffix == ".gz" else page
    with part.open() as file:
        file.seek(before.bytes)
        file.truncate()
        file.write(stored)
        file.flush()
        os.fsync(file.fileno())
    state = _State(
        first=before.first,
        next=_without_host(urllib.parse.urljoin(first, link[1])) if link else "",
        bytes=before.bytes + len(stored),
        entries=before.entries + page.count(b"\n>") + page.startswith(b">"),
        total=int(headers.get("X-Total-Results", before.total)),
        release=release,
    )
    part.note = json.dumps(state._asdict())
    return state


def _without_host(address: str) -> str:
    return urllib.parse.urlsplit(address)._replace(scheme="", netloc="").geturl()
