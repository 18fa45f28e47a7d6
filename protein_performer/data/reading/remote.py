"""Files at an address: `https://` by our client, `s3://` and all others through fsspec."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec

from protein_performer.addresses import public_address, public_text
from protein_performer.data.reading.http_client import http_size, is_http, read_pieces
from protein_performer.errors import UserError

_CHUNK = 1 << 20  # bytes asked of a store at once
_UNREADABLE = "cannot be read ({}). Is the address right, and may you read it?"
_BROKEN = (
    "the connection broke and could not be taken up again ({}). `protein-performer download`"
    " fetches large files first, and goes on after a break."
)


def expand_address(name: str) -> list[str]:
    """The addresses that a pattern stands for; over HTTP, `*` and `?` are no patterns.

    Raises: UserError if there is none, or if the protocol's package is missing.
    """
    if is_http(name) or not any(mark in name for mark in "*?["):
        return [name]
    filesystem, path = _filesystem(name)
    with _told(name, _UNREADABLE):
        found = sorted(filesystem.glob(path))
    if not found:
        raise UserError(f"{public_address(name)}: nothing there matches this pattern")
    return [filesystem.unstrip_protocol(each) for each in found]


def address_size(name: str) -> int | None:
    """Bytes that lie at an address; None if the server does not state it."""
    if is_http(name):
        return http_size(name)
    filesystem, path = _filesystem(name)
    with _told(name, _UNREADABLE):
        size = filesystem.size(path)
    return None if size is None else int(size)


def read_address(name: str) -> Iterator[bytes]:
    """The bytes that lie at an address, from the first on, as they arrive.

    A broken connection is taken up again where it broke, if the server can send a part.

    Raises: UserError if there is nothing, if the connection breaks for good, or if the protocol's
        package is missing.
    """
    return _read_http(name) if is_http(name) else _read_store(name)


def _read_http(name: str) -> Iterator[bytes]:
    received = 0
    for piece in read_pieces(name):
        if piece.begin != received:
            reason = "the server cannot send the rest alone, or the file has changed"
            raise UserError(f"{public_address(name)}: {_BROKEN.format(reason)}")
        received += len(piece.content)
        if piece.content:
            yield piece.content


def _read_store(name: str) -> Iterator[bytes]:
    filesystem, path = _filesystem(name)
    with _told(name, _UNREADABLE):
        file = filesystem.open(path, "rb")
    with file:
        while True:
            with _told(name, _BROKEN):  # the store's package has tried again before
                content = bytes(file.read(_CHUNK))
            if not content:
                return
            yield content


def _filesystem(name: str) -> tuple[Any, str]:
    shown = public_address(name)
    try:
        filesystem, path = fsspec.core.url_to_fs(name)
    except ImportError as error:
        raise UserError(
            f"{shown}: reading from '{name.split('://')[0]}://' needs a package that is not"
            f" installed ({error}). Run: pip install 'protein-performer[remote]'"
        ) from None
    except ValueError as error:
        reason = public_text(str(error))
        raise UserError(
            f"{shown}: {reason}. Expected http://, https://, s3:// or file://"
        ) from None
    return filesystem, path


@contextmanager
def _told(name: str, message: str) -> Iterator[None]:
    """Whatever a store's package raises (each has its own errors), as one for the user."""
    try:
        yield
    except Exception as error:
        reason = public_text(f"{type(error).__name__}: {error}".removesuffix(": "))
        raise UserError(f"{public_address(name)}: {message.format(reason)}") from None
