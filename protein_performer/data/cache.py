"""Prepared folders kept beside the data, found again by what they were made from."""

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from protein_performer.data.prepare import Preparation, fingerprints, prepare
from protein_performer.data.prepared import open_split, read_manifest
from protein_performer.data.remote import is_address
from protein_performer.data.shards import StoredSplit
from protein_performer.data.sources import expand
from protein_performer.errors import UserError


class Cached:
    """The prepared form of some sources, made when it is first asked for.

    Args:
        sources: see `sources.expand`.
        how: they are prepared.
        cache: the folder for such folders; None for `prepared/` beside the first source.
        workers: see `prepare`.
        complete: writes what else belongs beside the shards of a split.
    """

    def __init__(
        self,
        sources: Sequence[str],
        how: Preparation,
        cache: Path | None,
        *,
        workers: int = 0,
        complete: Callable[[StoredSplit], None] = lambda split: None,
    ) -> None:
        self.sources = sources
        self.how = how
        self.cache = cache
        self.workers = workers
        self.complete = complete

    @cached_property
    def folder(self) -> Path:
        """The prepared folder, whether it is there or not."""
        return prepared_folder(self.sources, self.how, self.cache)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What was read, dropped and written."""
        self.prepare()
        return read_manifest(self.folder)

    def prepare(self) -> None:
        """Prepare the sources, unless a folder made from the same ones is there."""
        prepare(self.sources, self.folder, self.how, workers=self.workers)
        manifest = read_manifest(self.folder)
        for name in [name for name, split in manifest["splits"].items() if split["proteins"]]:
            self.complete(open_split(self.folder, manifest, name))

    def split(self, name: str) -> StoredSplit:
        """The stored proteins of `train`, `valid`, `test` or `ood`."""
        return open_split(self.folder, self.manifest, name)


def prepared_folder(sources: Sequence[str], how: Preparation, cache: Path | None) -> Path:
    """Where the prepared form of the sources belongs, whether it is there or not.

    Args:
        sources: see `sources.expand`.
        how: they are prepared.
        cache: the folder for such folders; None for `prepared/` beside the first source.
    """
    names = expand(sources)
    if cache is None and is_address(names[0]):
        raise UserError(f"data.cache_dir: expected a folder, since there is none beside {names[0]}")
    identity = json.dumps(fingerprints(sources, how), sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()
    stem = Path(names[0]).name.split(".")[0] or "proteins"
    return (cache or Path(names[0]).parent / "prepared") / f"{stem}-{digest[:12]}"
