"""Polite HTTP by the standard library: waits when told to, and takes up what broke off."""

import email.utils
import http.client
import logging
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass

from protein_performer.errors import UserError

log = logging.getLogger(__name__)

_AGENT = "protein-performer"
_LATER = {429, 500, 502, 503, 504}  # answers that another time may better
_CHUNK = 1 << 16  # bytes that a reset connection may cost


class Broken(Exception):
    """A transfer stopped before its end, and may be taken up again."""


class NoSuchPart(Exception):
    """The server has no bytes from the place that was asked for."""


@dataclass(frozen=True)
class Patience:
    """How long to try.

    Attributes:
        attempts: in a row without a byte gained, before giving up.
        first_pause: seconds before the second attempt; the pause doubles each time ...
        longest_pause: ... up to this, which also bounds what a server may ask for (`Retry-After`).
        timeout: seconds of silence that count as a broken connection.
        sleep: waits for some seconds.
    """

    attempts: int = 8
    first_pause: float = 2.0
    longest_pause: float = 600.0
    timeout: float = 60.0
    sleep: Callable[[float], None] = time.sleep

    def wait(self, attempt: int, reason: str, told: float | None = None) -> None:
        """Pause after the failed attempt number `attempt` (from 0), or for the seconds told."""
        pause = min(self.first_pause * 2**attempt if told is None else told, self.longest_pause)
        log.warning("%s; trying again in %.0f s", reason, pause)
        self.sleep(pause)


def get(
    url: str, patience: Patience, headers: Mapping[str, str] | None = None
) -> http.client.HTTPResponse:
    """Open an address for reading, trying again while that may help; the caller closes it.

    Raises: UserError if the server refuses, or cannot be reached for long; `NoSuchPart` for the
        answer 416.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise UserError(f"{url}: expected an address that begins with http:// or https://")
    request = urllib.request.Request(url, headers={"User-Agent": _AGENT, **(headers or {})})
    for attempt in range(patience.attempts):
        told = None
        try:
            response: http.client.HTTPResponse = urllib.request.urlopen(
                request, timeout=patience.timeout
            )
            return response
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416:
                    raise NoSuchPart from None
                if error.code not in _LATER:
                    raise UserError(_refused(url, error)) from None
                told = _retry_after(error.headers.get("Retry-After"))
                reason = f"{url}: the server answers {error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            reason = f"{url}: cannot be reached ({getattr(error, 'reason', error)})"
        if attempt < patience.attempts - 1:
            patience.wait(attempt, reason, told)
    raise UserError(
        f"{reason}, {patience.attempts} times. Is the network up? What has been fetched is kept:"
        " the same command goes on from there."
    )


def body(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The pieces of an answer, which is closed at the end.

    Raises: `Broken` if the connection breaks, or ends before the length that was told.
    """
    told = response.headers.get("Content-Length")
    received = 0
    with closing(response):
        while True:
            try:
                piece = response.read(_CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise Broken(f"{type(error).__name__}: {error}") from None
            if not piece:
                break
            received += len(piece)
            yield piece
    if told is not None and received < int(told):
        raise Broken(f"the connection closed after {received:,} of {int(told):,} bytes")


def get_whole(url: str, patience: Patience) -> tuple[bytes, http.client.HTTPMessage]:
    """A short answer as a whole, and its headers; asked for again if it breaks off.

    Raises: UserError, as `get`.
    """
    for attempt in range(patience.attempts):
        response = get(url, patience)
        try:
            return b"".join(body(response)), response.headers
        except Broken as error:
            reason = f"{url}: {error}"
        patience.wait(attempt, reason)
    raise UserError(f"{reason}, {patience.attempts} times. Run the same command again later.")


def _retry_after(told: str | None) -> float | None:
    """Seconds to wait, from a number of them or a date."""
    if told is None:
        return None
    try:
        return max(0.0, float(told))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(told).timestamp() - time.time())
    except ValueError:
        return None


def _refused(url: str, error: urllib.error.HTTPError) -> str:
    with_reason = f"{url}: the server answers {error.code} {error.reason}"
    said = ""
    with suppress(OSError, http.client.HTTPException):
        said = error.read(300).decode("utf-8", "replace").strip()
    if error.code == 400 and said:
        return f"{with_reason}: {said}"
    return f"{with_reason}. Is the address right?"
