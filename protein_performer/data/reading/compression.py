"""gzip as a stream: members one after another, each checked, nothing lost in silence.

ISA-L (`pip install 'protein-performer[fast]'`) takes the place of zlib where it is installed; it
inflates about twice as fast and gives the same bytes.
"""

import zlib
from collections.abc import Iterator
from types import ModuleType

from protein_performer.errors import UserError

GZIP_MAGIC = b"\x1f\x8b"
_AT_ONCE = 1 << 21  # bytes: a few kilobytes can hold megabytes
_GZIP_HEADER = 31  # zlib's wbits: expect a gzip header, check CRC and length at the end


def inflater() -> ModuleType:
    """The module that inflates: `isal.isal_zlib` where installed, else the standard `zlib`."""
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib
    module: ModuleType = isal_zlib
    return module


def gunzip(chunks: Iterator[bytes], where: str) -> Iterator[bytes]:
    """Inflate a gzip stream of one or many members, holding one chunk at a time.

    Args:
        chunks: the compressed bytes, cut anywhere.
        where: the file's name, for errors.

    Yields: inflated bytes, all that can be had before an error.
    Raises: UserError on truncation, a wrong checksum, and bytes that are not gzip after a member
        (zeros are padding, as for `gzip -d`).
    """
    codec = inflater()
    member, members, received = None, 0, 0  # the one that is being inflated, and whole ones
    for chunk in chunks:
        received += len(chunk)
        full = False  # whether more may come out of bytes that went in already
        while chunk or full:
            if member is None:
                chunk = chunk.lstrip(b"\0") if members else chunk
                if not chunk:
                    break
                member = codec.decompressobj(_GZIP_HEADER)
            try:
                inflated = member.decompress(chunk, _AT_ONCE)
            except (zlib.error, codec.error) as error:
                raise UserError(_corrupt(where, received, error, members)) from None
            if inflated:
                yield inflated
            chunk, full = member.unconsumed_tail, len(inflated) == _AT_ONCE
            if member.eof:
                chunk, full, member, members = member.unused_data, False, None, members + 1
    if member is not None:
        raise UserError(
            f"{where}: the gzip stream stops before its end, after {received:,} bytes: the file is"
            " truncated, probably by a download that broke off. Fetch it again."
        )


def _corrupt(where: str, received: int, error: Exception, members: int) -> str:
    after = f" after {members} whole member(s)" if members else ""
    return (
        f"{where}: expected gzip data, got corrupt ones within the first {received:,}"
        f" bytes{after} ({error}). The file was damaged on its way: fetch it again, and compare its"
        " checksum with its origin's."
    )
