"""Reading over HTTP: waits when the server asks for it, and goes on where a connection broke."""

import logging
from collections.abc import Generator, Mapping
from contextlib import closing, suppress
from typing import NamedTuple, cast

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, MaxRetryError
from urllib3.response import BaseHTTPResponse
from urllib3.util import Retry

from protein_performer.addresses import public_address, public_text
from protein_performer.errors import UserError

log = logging.getLogger(__name__)

_CHUNK = 1 << 15  # bytes that a reset connection may cost
_TIMEOUT = 60.0  # seconds of silence that count as a broken connection
_NO_SUCH_PART = 416


class LoggedRetry(Retry):
    """urllib3's retry policy, which says why and how long it waits."""

    def sleep(self, response: BaseHTTPResponse | None = None) -> None:
        """Wait as long as the server asks (`Retry-After`), or else twice as long as before."""
        asked = self.get_retry_after(response) if response is not None else None
        last = self.history[-1]
        reason = f"the server answers {last.status}" if last.error is None else _reason(last.error)
        pause = asked or self.get_backoff_time()
        log.warning("%s; trying again in %.0f s", reason, pause)
        super().sleep(response)


# Pauses of 0, 4, 8, 16, ... seconds: about four minutes until it gives up.
RETRY = LoggedRetry(
    total=7,
    backoff_factor=2.0,
    backoff_max=600,
    retry_after_max=600,
    status_forcelist={429, 500, 502, 503, 504},
    raise_on_status=False,
)


class Piece(NamedTuple):
    """Bytes of a file.

    Attributes:
        begin: place of the first one in the file.
        content: the bytes; none in the first piece of each answer, which says where it begins.
        headers: of the answer.
    """

    begin: int
    content: bytes
    headers: Mapping[str, str]

    @property
    def size(self) -> int | None:
        """Bytes of the whole file, if the server states them."""
        rest = self.headers.get("Content-Length")
        return None if rest is None else self.begin + int(rest)

    @property
    def tag(self) -> str:
        """What another state of the file would not have; "" if the server states nothing."""
        etag = self.headers.get("ETag", "")
        strong = "" if etag.startswith("W/") else etag
        return strong or self.headers.get("Last-Modified", "")


def is_http(address: str) -> bool:
    """Whether an address is read here."""
    return address.startswith(("http://", "https://"))


def read_pieces(
    url: str, begin: int = 0, tag: str = "", *, retry: Retry = RETRY
) -> Generator[Piece]:
    """The bytes of a file from a place on, in order, however often the connection breaks.

    Where the server sends no parts, or the file is another one by now, reading begins anew: the
    next piece has the place 0.

    Args:
        url: an http(s) address.
        begin: bytes that are there already.
        tag: of the file that these are of, see `Piece.tag`.
        retry: how often to try without a byte gained, and how long to wait.

    Raises: UserError if the server refuses, or cannot be reached for long.
    """
    shown = public_address(url)
    if not is_http(url):
        raise UserError(f"{shown}: expected an address that begins with http:// or https://")
    left, furthest = retry, begin
    with requests.Session() as session:
        for protocol in ("http://", "https://"):
            session.mount(protocol, HTTPAdapter(max_retries=retry))
        while True:
            answer = _get(session, url, begin, tag)
            if answer.status_code == _NO_SUCH_PART and begin:
                begin = 0
                continue
            begin = begin if answer.status_code == 206 else 0
            head = Piece(begin, b"", answer.headers)
            tag = head.tag
            try:
                with closing(answer):
                    yield head
                    for content in answer.raw.stream(_CHUNK, decode_content=False):
                        yield head._replace(begin=begin, content=content)
                        begin += len(content)
                return
            except (HTTPError, OSError) as error:
                # A server without parts begins anew each time: only new ground counts.
                left = _count_break(retry if begin > furthest else left, url, error)
                furthest = max(furthest, begin)
                left.sleep()
                begin = begin if tag else 0


def read_whole(url: str, *, retry: Retry = RETRY) -> tuple[bytes, Mapping[str, str]]:
    """A short file as a whole, and the headers of its last answer.

    Raises: UserError, as `read_pieces`.
    """
    content, headers = bytearray(), cast(Mapping[str, str], {})
    for piece in read_pieces(url, retry=retry):
        content[piece.begin :] = piece.content
        headers = piece.headers
    return bytes(content), headers


def http_size(url: str) -> int | None:
    """Bytes of a file; None if the server does not state them. Raises as `read_pieces`."""
    with closing(read_pieces(url)) as pieces:
        return next(pieces).size


def _get(session: requests.Session, url: str, begin: int, tag: str) -> requests.Response:
    headers = {"User-Agent": "protein-performer", "Accept-Encoding": "identity"}
    if begin:
        headers["Range"] = f"bytes={begin}-"
        if tag:
            headers["If-Range"] = tag
    try:
        answer = session.get(url, headers=headers, stream=True, timeout=_TIMEOUT)
    except (requests.RequestException, UnicodeError) as error:
        raise UserError(
            f"{public_address(url)}: cannot be reached ({_reason(error)}). Is the address right,"
            " and the network up? What has been downloaded is kept."
        ) from None
    if answer.ok or (answer.status_code == _NO_SUCH_PART and begin):
        return answer
    said = ""
    with closing(answer), suppress(HTTPError, OSError):
        if answer.status_code == 400:  # UniProt says what is wrong with a query
            said = public_text(answer.raw.read(300).decode("utf-8", "replace").strip())
    raise UserError(
        f"{public_address(url)}: the server answers {answer.status_code} {answer.reason}"
        + (f": {said}" if said else ". Is the address right?")
    )


def _count_break(retry: Retry, url: str, error: Exception) -> Retry:
    try:
        return retry.increment("GET", None, error=cast(HTTPError, error))
    except MaxRetryError:
        raise UserError(
            f"{public_address(url)}: the connection broke again and again without a byte gained"
            f" ({_reason(error)}). What has been downloaded is kept: the same command goes on."
        ) from None


def _reason(error: Exception) -> str:
    """The innermost cause, without the address, which may have a signature in it."""
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    if isinstance(error, MaxRetryError) and error.reason is not None:
        error = error.reason
    return public_text(str(error.args[0]) if error.args else type(error).__name__)
