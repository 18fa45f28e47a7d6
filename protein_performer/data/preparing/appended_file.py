"""A file that grows, and is gone on with only if it is what was written."""

import hashlib
import os
from pathlib import Path
from typing import Any

from protein_performer.errors import UserError


class AppendedFile:
    """Bytes appended to a file, and their checksum.

    Args:
        path: of the file.
        state: what `state()` of an earlier one gave: this one goes on behind it, and cuts off what
            that one wrote later. None begins anew.

    Raises: UserError if what was written is not there.
    """

    def __init__(self, path: Path, state: dict[str, Any] | None = None) -> None:
        self.path = path
        self.size = 0
        self._digest = hashlib.sha256()
        self._file = path.open("r+b" if state and path.exists() else "w+b")
        if state is None:
            return
        self._file.truncate(state["bytes"])
        while piece := self._file.read(1 << 20):
            self._digest.update(piece)
        self.size = self._file.tell()
        if self.sha256 != state["sha256"]:
            self.close()
            raise UserError(f"{path}: not what was written")

    @property
    def sha256(self) -> str:
        """Of all that was written, hexadecimal."""
        return self._digest.hexdigest()

    def write(self, content: bytes) -> None:
        """Append."""
        self._file.write(content)
        self._digest.update(content)
        self.size += len(content)

    def flush(self) -> None:
        """Let other readers of the file see all of it."""
        self._file.flush()

    def state(self) -> dict[str, Any]:
        """How far this is, in plain types, once it is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return {"bytes": self.size, "sha256": self.sha256}

    def close(self) -> None:
        """Let go of the file, as it is."""
        self._file.close()
