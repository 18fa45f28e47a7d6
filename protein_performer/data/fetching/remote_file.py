"""Files of known content at an address, fetched whole: there when they are right, or not at all."""

import hashlib
import logging
import os
from pathlib import Path
from typing import NamedTuple

from protein_performer.data.fetching.download import download
from protein_performer.data.fetching.transfer import Patience, get_whole
from protein_performer.data.reading.remote import read_address
from protein_performer.data.shards import file_sha256
from protein_performer.errors import UserError

_CHUNK = 1 << 20  # bytes
_OTHER = "expected bytes with SHA-256 {}, got others"

log = logging.getLogger(__name__)


class RemoteFile(NamedTuple):
    """A file at an address.

    Attributes:
        address: of any protocol.
        size: bytes; None if not known.
        sha256: hexadecimal; None if not known.
    """

    address: str
    size: int | None = None
    sha256: str | None = None

    def fetch(self, path: Path) -> None:
        """Fetch it to `path`, whose folder is there; a broken connection is taken up again.

        Only one process may do so at a time. Wrong bytes are thrown away and fetched once more.

        Raises: UserError if it cannot be had, or if the bytes are wrong twice.
        """
        arriving = path.with_name(f"{path.name}.arriving")
        for _ in range(2):
            _receive(self.address, arriving)
            wrong = self._what_is_wrong(arriving)
            if not wrong:
                arriving.replace(path)
                return
            arriving.unlink()
            log.warning("%s: %s; thrown away", self.address, wrong)
        raise self._wrong(wrong)

    def read(self) -> bytes:
        """All of its bytes, which are few.

        Raises: UserError, as `fetch`.
        """
        for _ in range(2):
            if _is_http(self.address):
                content = get_whole(self.address, Patience())[0]
            else:
                content = b"".join(read_address(self.address, _CHUNK))
            if self.sha256 in (None, hashlib.sha256(content).hexdigest()):
                return content
        raise self._wrong(_OTHER.format(self.sha256))

    def _wrong(self, how: str) -> UserError:
        return UserError(
            f"{self.address}: {how}, twice. Was the folder prepared anew, or damaged? There,"
            " `protein-performer prepare --verify` tells."
        )

    def _what_is_wrong(self, path: Path) -> str:
        size = path.stat().st_size
        if self.size is not None and size != self.size:
            return f"expected {self.size:,} bytes, got {size:,}"
        if self.sha256 is not None and file_sha256(path) != self.sha256:
            return _OTHER.format(self.sha256)
        return ""


def _is_http(address: str) -> bool:
    return address.startswith(("http://", "https://"))


def _receive(address: str, path: Path) -> None:
    if _is_http(address):  # goes on with what a killed process has fetched, too
        download(address, path, progress=False)
        return
    with path.open("wb") as file:
        for piece in read_address(address, _CHUNK):
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
