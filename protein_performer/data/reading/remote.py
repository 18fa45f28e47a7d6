"""Sources at an address (`https://`, `s3://`, ...) as streams of bytes, through fsspec."""

import logging
import time
from collections.abc import Iterator
from typing import Any

import fsspec

from protein_performer.errors import UserError

_ATTEMPTS = 4  # reads of the same place before giving up; the pauses between double
_FIRST_PAUSE = 1.0  # seconds

log = logging.getLogger(__name__)


def is_address(name: str) -> bool:
    """Whether the name is an address of any protocol and not a file's."""
    return "://" in name


def expand_address(name: str) -> list[str]:
    """The addresses that a pattern stands for; over HTTP, `*` and `?` are no patterns.

    Raises: UserError if there is none, or if the protocol's package is missing.
    """
    if name.startswith(("http://", "https://")) or not any(mark in name for mark in "*?["):
        return [name]
    filesystem, path = _filesystem(name)
    try:
        found = sorted(filesystem.glob(path))
    except Exception as error:  # each protocol has its own
        raise _unreadable(name, error) from None
    if not found:
        raise UserError(f"{name}: nothing there matches this pattern")
    return [filesystem.unstrip_protocol(each) for each in found]


def address_size(name: str) -> int | None:
    """Bytes that lie at an address; None if the server does not tell."""
    filesystem, path = _filesystem(name)
    try:
        size = filesystem.size(path)
    except Exception as error:
        raise _unreadable(name, error) from None
    return None if size is None else int(size)


def read_address(name: str, chunk: int) -> Iterator[bytes]:
    """The bytes that lie at an address, from the first on, as they arrive.

    A broken connection is taken up again where it broke, if the server can send a part.

    Raises: UserError if there is nothing, if the connection breaks for good, or if the protocol's
        package is missing.
    """
    filesystem, path = _filesystem(name)
    try:
        file = filesystem.open(path, "rb")
    except Exception as error:
        raise _unreadable(name, error) from None
    received = 0
    with file:
        while piece := _read_persistently(file, received, chunk, name):
            received += len(piece)
            yield piece
        size = getattr(file, "size", None)  # not every protocol tells
        if size is not None and received != size:
            raise _broken(name, f"{received:,} of {size:,} bytes came")


def _read_persistently(file: Any, place: int, chunk: int, name: str) -> bytes:
    for attempt in range(_ATTEMPTS):
        try:
            file.seek(place)
            return bytes(file.read(chunk))
        except Exception as error:
            # Without a known size the server sends a stream, which cannot be entered again.
            if getattr(file, "size", None) is None or attempt == _ATTEMPTS - 1:
                raise _broken(name, _told(error)) from None
            pause = _FIRST_PAUSE * 2**attempt
            log.warning("%s: %s; trying again in %g s", name, _told(error), pause)
            time.sleep(pause)
    raise AssertionError("not reached")


def _filesystem(name: str) -> tuple[Any, str]:
    try:
        filesystem, path = fsspec.core.url_to_fs(name, **_options(name))
    except ImportError as error:
        raise UserError(
            f"{name}: reading from '{name.split('://')[0]}://' needs a package that is not"
            f" installed ({error}). Run: pip install 'protein-performer[remote]'"
        ) from None
    except ValueError as error:
        raise UserError(f"{name}: {error}. Expected http://, https://, s3:// or file://") from None
    return filesystem, path


def _options(name: str) -> dict[str, Any]:
    if not name.startswith(("http://", "https://")):
        return {}
    import aiohttp  # fsspec needs it for HTTP, and gives a whole stream five minutes by default

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=60, sock_read=300)
    return {"client_kwargs": {"timeout": timeout}}


def _unreadable(name: str, error: Exception) -> UserError:
    return UserError(
        f"{name}: cannot be read ({_told(error)}). Is the address right, and may you read it?"
    )


def _broken(name: str, told: str) -> UserError:
    return UserError(
        f"{name}: the connection broke and could not be taken up again ({told})."
        " `protein-performer download` fetches large files first, and goes on after a break."
    )


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
