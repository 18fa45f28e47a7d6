"""Shards that lie at an address, kept on the disk as long as there is room for them.

Any number of processes share a cache. A shard is fetched by one of them while the others that need
it wait; those that were used longest ago make room for it. A process that reads a removed shard
still has its bytes, by the rules of POSIX file systems, until it lets go of them.
"""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from protein_performer.data.fetching.remote_file import RemoteFile
from protein_performer.data.locking import locked, locked_if_free
from protein_performer.data.shards import shard_path
from protein_performer.errors import UserError

KEPT_FILES = ("tokens", "offsets")  # of a shard; accessions are read where they lie
_RESERVED = "reserved"  # a file that stands for the bytes of a shard until they are there
_PAUSE = 0.05  # seconds between looks at a cache that is full of what others are fetching

log = logging.getLogger(__name__)

Shard = tuple[str, int]  # split, number


class ShardCache:
    """The shards of a prepared folder that lies elsewhere; plain and picklable.

    Args:
        address: of the folder.
        folder: of the cache, of this prepared folder alone; it has a folder for each split.
        manifest: of the prepared folder.
        most_bytes: that shards may take, those included that are being fetched; None for any.
    """

    def __init__(
        self, address: str, folder: Path, manifest: Mapping[str, Any], most_bytes: int | None
    ) -> None:
        self.address = address
        self.folder = folder
        self.most_bytes = most_bytes
        self._digests: dict[Shard, dict[str, str]] = {}
        self._sizes: dict[Shard, dict[str, int]] = {}
        for name, split in manifest["splits"].items():
            for number, meta in enumerate(split["shards"]):
                self._digests[name, number] = meta["sha256"]
                # As the layout of `shards` has it.
                sizes = {"tokens": meta["residues"], "offsets": 8 * (meta["proteins"] + 1)}
                self._sizes[name, number] = sizes
        largest = max(map(self._bytes, self._sizes))
        if most_bytes is not None and most_bytes < largest:
            raise UserError(
                f"data.cache_gigabytes: expected at least {largest / 1e9:.3g}, to hold the largest"
                f" shard of {address}; got {most_bytes / 1e9:g}"
            )

    @property
    def all_bytes(self) -> int:
        """What all shards together would take."""
        return sum(map(self._bytes, self._sizes))

    def path(self, shard: Shard, kind: str) -> Path:
        """Where a file of a shard belongs in the cache."""
        return shard_path(self.folder / shard[0], shard[1], kind)

    def file(self, shard: Shard, kind: str) -> RemoteFile:
        """Where it lies, and what it holds."""
        address = f"{self.address}/{shard[0]}/{shard_path(Path(), shard[1], kind)}"
        return RemoteFile(address, self._sizes[shard].get(kind), self._digests[shard][kind])

    @contextmanager
    def held(self, shard: Shard) -> Iterator[None]:
        """Have a shard's files in the cache while the block runs; fetch them if they are not.

        Whoever maps them in the block may read them ever after.

        Raises: UserError, as `RemoteFile.fetch`.
        """
        with locked(self.path(shard, "lock"), told=False):
            missing = [kind for kind in KEPT_FILES if not self.path(shard, kind).exists()]
            if missing:
                self._reserve(shard)
                for kind in missing:
                    self.file(shard, kind).fetch(self.path(shard, kind))
                self.path(shard, _RESERVED).unlink()
            self.touch(shard)
            yield

    def touch(self, shard: Shard) -> bool:
        """Note that a shard is in use; False if it is not in the cache."""
        try:
            os.utime(self.path(shard, "tokens"))
        except FileNotFoundError:
            return False
        return True

    def _bytes(self, shard: Shard) -> int:
        return sum(self._sizes[shard].values())

    def trim(self) -> None:
        """Remove what is too much, since the bound may have been higher before."""
        if self.most_bytes is not None:
            with locked(self.folder / "room.lock", told=False):
                self._make_room(None, self.most_bytes)

    def _reserve(self, shard: Shard) -> None:
        """Make room for a shard that this process has locked, and keep it."""
        while True:
            with locked(self.folder / "room.lock", told=False):
                if self.most_bytes is None or self._make_room(shard, self.most_bytes):
                    self.path(shard, _RESERVED).touch()
                    return
            time.sleep(_PAUSE)

    def _make_room(self, shard: Shard | None, most_bytes: int) -> bool:
        """Remove what was used longest ago; False if what else is there is held by others."""
        there = {each: used for each, used in self._there().items() if each != shard}
        taken = sum(map(self._bytes, [*there, *([] if shard is None else [shard])]))
        for each in sorted(there, key=there.__getitem__):
            if taken <= most_bytes:
                break
            with locked_if_free(self.path(each, "lock")) as free:
                if free:
                    for path in self._files(each):
                        path.unlink(missing_ok=True)
                    taken -= self._bytes(each)
        return taken <= most_bytes

    def _there(self) -> dict[Shard, float]:
        """Shards of which any byte is there or arriving, and when they were last used."""
        found: dict[Shard, float] = {}
        for split in {name for name, _ in self._sizes}:
            for path in (self.folder / split).glob("[0-9]*.*"):
                shard = split, int(path.name.partition(".")[0])
                if path.suffix != ".lock" and shard in self._sizes:
                    found[shard] = max(found.get(shard, 0.0), _modified(path))
        return found

    def _files(self, shard: Shard) -> list[Path]:
        first = self.path(shard, "")
        return [each for each in first.parent.glob(f"{first.name}*") if each.suffix != ".lock"]


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # removed or renamed meanwhile
        return 0.0
