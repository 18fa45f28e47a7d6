"""A prepared folder at an address (`https://`, `s3://`, ...): shards are fetched when needed."""

import hashlib
import json
import logging
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protein_performer.alphabet import Alphabet
from protein_performer.data.fetching.remote_file import RemoteFile
from protein_performer.data.fetching.shard_cache import ShardCache
from protein_performer.data.locking import locked
from protein_performer.data.manifest import MANIFEST, check_alphabet, parse_manifest, split_meta
from protein_performer.data.preparing.books import preprocessing_from
from protein_performer.data.preparing.preprocessing import Preprocessing
from protein_performer.data.shards import BY_LENGTH, LENGTH_COUNTS, SplitMeta, StoredSplit
from protein_performer.errors import UserError

_LOOK_EVERY = 1.0  # seconds: how long a process may keep the bytes of a shard that was removed

log = logging.getLogger(__name__)


class RemoteSplit(StoredSplit):
    """Reads the proteins of one split; fetches the shards that are not in the cache.

    Args:
        cache: of the shards.
        name: of the split.
        meta, shard_proteins: see `StoredSplit`.
    """

    def __init__(self, cache: ShardCache, name: str, meta: SplitMeta, shard_proteins: int) -> None:
        super().__init__(cache.folder / name, meta, shard_proteins)
        self.cache = cache
        self.name = name
        self._used: set[int] = set()  # since the last look
        self._next_look = 0.0

    def residues(self, index: int) -> NDArray[np.uint8]:
        """See `StoredSplit`."""
        shard, row = divmod(index, self.shard_proteins)
        tokens, offsets = self.shard(shard)
        return tokens[int(offsets[row]) : int(offsets[row + 1])]

    def shard(self, shard: int) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
        """See `StoredSplit`."""
        if time.monotonic() >= self._next_look:
            self._look()
        mapped = self._mapped.get(shard)
        if mapped is None:
            with self.cache.held((self.name, shard)):
                mapped = super().shard(shard)
            self._look()
        self._used.add(shard)
        return mapped

    def lengths(self, shard: int) -> NDArray[np.int64]:
        """See `StoredSplit`."""
        with self.cache.held((self.name, shard)):
            return super().lengths(shard)

    def _look(self) -> None:
        """Tell the cache what was used, and let go of what it has removed."""
        for shard in list(self._mapped):
            if shard in self._used:
                there = self.cache.touch((self.name, shard))
            else:
                there = self.cache.path((self.name, shard), "tokens").exists()
            if not there:
                del self._mapped[shard]
        self._used.clear()
        self._next_look = time.monotonic() + _LOOK_EVERY

    def accessions(self, shard: int) -> list[str]:
        """The accessions of a shard, in order; read from the address and not kept."""
        return self.cache.file((self.name, shard), "accessions").read().decode().split("\n")[:-1]


class RemoteFolder:
    """What `protein-performer prepare` wrote, at an address.

    Its index (4 bytes a protein) is fetched as a whole, shards when they are needed; both are
    compared with the manifest's checksums. All ranks and workers of a machine share the cache.

    Args:
        address: of the folder.
        alphabet: what the user expects it to be prepared with; None for any.
        cache_dir: where a folder for it is made.
        gigabytes: the most that is kept of its shards (10^9 bytes); None for all.
    """

    def __init__(
        self,
        address: str,
        alphabet: Alphabet | None,
        cache_dir: Path | None,
        gigabytes: float | None,
    ) -> None:
        self.address = address.rstrip("/")
        if cache_dir is None:
            raise UserError(
                f"data.cache_dir: expected a folder to keep what is fetched from {self.address},"
                " such as data/fetched"
            )
        self.alphabet = alphabet
        self.cache_dir = cache_dir
        self.most_bytes = None if gigabytes is None else int(gigabytes * 1e9)
        self._told = False

    @property
    def name(self) -> str:
        """The address."""
        return self.address

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Asks the network, once.

        Raises: UserError if there is none, or if it tells of another alphabet.
        """
        text = RemoteFile(f"{self.address}/{MANIFEST}").read().decode("utf-8", "replace")
        manifest = parse_manifest(text, self.address)
        check_alphabet(manifest, self.alphabet, self.address)
        return manifest

    @property
    def preprocessing(self) -> Preprocessing:
        """As the manifest has it."""
        return preprocessing_from(self.manifest["definition"])

    @cached_property
    def folder(self) -> Path:
        """Where its files are kept: another one once it was prepared anew."""
        identity = json.dumps([self.address, self.manifest["content"]])
        digest = hashlib.sha256(identity.encode()).hexdigest()
        return self.cache_dir / f"{self.address.rpartition('/')[2]}-{digest[:12]}"

    @cached_property
    def _cache(self) -> ShardCache:
        return ShardCache(self.address, self.folder, self.manifest, self.most_bytes)

    def prepare(self, workers: int) -> None:
        """Fetch the index, and say what will be fetched."""
        if not self._told:
            self._told = True
            self._tell()
        for name, entry in self.manifest["splits"].items():
            (self.folder / name).mkdir(parents=True, exist_ok=True)
            with locked(self.folder / "index.lock"):
                for kind in (BY_LENGTH, LENGTH_COUNTS):
                    path = self.folder / name / kind
                    digest = entry.get("index_sha256", {}).get(kind)
                    if not path.exists():
                        RemoteFile(f"{self.address}/{name}/{kind}", sha256=digest).fetch(path)
        self._cache.trim()

    def _tell(self) -> None:
        all_bytes = self._cache.all_bytes
        log.info("%s: %.3g GB of shards, kept in %s", self.address, all_bytes / 1e9, self.folder)
        if self.most_bytes is not None and all_bytes > self.most_bytes:
            log.warning(
                "%s: its shards are %.3g GB and the cache may hold %.3g. Since each batch draws"
                " from all of them, most will be fetched many times an epoch: raise"
                " data.cache_gigabytes if the disk allows.",
                *(self.address, all_bytes / 1e9, self.most_bytes / 1e9),
            )

    def split(self, name: str) -> StoredSplit:
        """See `Origin`."""
        shard_proteins = self.manifest["definition"]["shard_proteins"]
        return RemoteSplit(self._cache, name, split_meta(self.manifest, name), shard_proteins)
