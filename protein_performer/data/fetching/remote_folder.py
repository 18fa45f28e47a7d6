"""A prepared folder at an address (`https://`, `s3://`, ...): shards are fetched when needed."""

import hashlib
import json
from pathlib import Path
from typing import Any

from filelock import FileLock

from protein_performer.addresses import below, public_address
from protein_performer.alphabet import Alphabet
from protein_performer.data.manifest import (
    MANIFEST,
    parse_manifest,
    split_folder,
    split_meta,
)
from protein_performer.data.prepared_folder import PreparedFolder
from protein_performer.data.reading.remote import read_address
from protein_performer.data.shards import SplitMeta, StoredSplit
from protein_performer.errors import UserError
from protein_performer.files import replacing


class RemoteSplit(StoredSplit):
    """Reads the proteins of one split; fetches each file when it is first needed.

    Args:
        address: of the split.
        folder, meta, shard_proteins: see `StoredSplit`; the folder is made.
    """

    def __init__(self, address: str, folder: Path, meta: SplitMeta, shard_proteins: int) -> None:
        super().__init__(folder, meta, shard_proteins)
        self.address = address
        folder.mkdir(parents=True, exist_ok=True)

    def whole(self, path: Path, sha256: str | None) -> Path:
        """Have a file in its place; of the processes that need it, one fetches it."""
        if not path.exists():
            with FileLock(path.with_name(f".{path.name}.lock")):
                if not path.exists():
                    _fetch(below(self.address, path.name), path, sha256)
        return super().whole(path, sha256)


class RemoteFolder(PreparedFolder):
    """What `protein-performer prepare` wrote, at an address.

    Its index (4 bytes a protein) and its shards are fetched when they are needed, compared with the
    manifest's checksums, and kept. All ranks and workers of a machine share them.

    Args:
        address: of the folder.
        alphabet: what the user expects it to be prepared with; None for any.
        cache_dir: where a folder for it is made.
    """

    def __init__(self, address: str, alphabet: Alphabet | None, cache_dir: Path | None) -> None:
        super().__init__(public_address(address).rstrip("/"), alphabet)
        if cache_dir is None:
            raise UserError(
                f"data.cache_dir: expected a folder to keep what is fetched from {self.name},"
                " such as data/fetched"
            )
        self.address = address
        self.cache_dir = cache_dir

    @property
    def folder(self) -> Path:
        """Where its files are kept: another one once it was prepared anew."""
        identity = json.dumps([self.name, self.manifest["content"]])
        digest = hashlib.sha256(identity.encode()).hexdigest()
        return self.cache_dir / f"{self.name.rpartition('/')[2]}-{digest[:12]}"

    def _read_manifest(self) -> dict[str, Any]:
        content = b"".join(read_address(below(self.address, MANIFEST)))
        return parse_manifest(content.decode("utf-8", "replace"), self.name)

    def split(self, name: str) -> StoredSplit:
        """See `PreparedFolder`."""
        path = split_folder(self.manifest, name)
        return RemoteSplit(
            below(self.address, path),
            self.folder / path,
            split_meta(self.manifest, name),
            self.manifest["definition"]["shard_proteins"],
        )


def _fetch(address: str, path: Path, sha256: str | None) -> None:
    """Fetch a file to its place, which it takes when it is whole and right."""
    digest = hashlib.sha256()
    with replacing(path) as partial, partial.open("wb") as file:
        for content in read_address(address):
            digest.update(content)
            file.write(content)
        if sha256 not in (None, digest.hexdigest()):
            raise UserError(
                f"{public_address(address)}: expected bytes with SHA-256 {sha256}, got others. Was"
                " the folder prepared anew, or damaged? `protein-performer prepare --verify`, run"
                " there, finds damage."
            )
