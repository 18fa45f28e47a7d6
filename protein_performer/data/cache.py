"""Prepared folders kept beside the data, found again by what they were made from."""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from protein_performer.data.prepare import MANIFEST, Preparation, prepare
from protein_performer.data.records import ReadCounts, parse_columns, read_blocks
from protein_performer.data.remote import is_address
from protein_performer.data.sources import expand, size
from protein_performer.errors import UserError

log = logging.getLogger(__name__)


def prepared_folder(sources: Sequence[str], how: Preparation, cache: Path | None) -> Path:
    """Where the prepared form of the sources belongs, whether it is there or not.

    A file, be it a source or a table of clusters, is known by its name, size and time of change,
    as for `make`: whoever replaces or touches one gets it prepared anew. An address is known by
    itself and the size that its server tells.

    Args:
        sources: see `sources.expand`.
        how: they are prepared.
        cache: the folder for such folders; None for `prepared/` beside the first source.
    """
    names = expand(sources)
    if cache is None and is_address(names[0]):
        raise UserError(f"data.cache_dir: expected a folder, since there is none beside {names[0]}")
    tables = [] if how.splits.clusters is None else [how.splits.clusters]
    identity = {
        "how": how.definition(),
        "files": [_fingerprint(name) for name in [*names, *tables]],
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    stem = Path(names[0]).name.split(".")[0] or "proteins"
    return (cache or Path(names[0]).parent / "prepared") / f"{stem}-{digest[:12]}"


def prepare_once(sources: Sequence[str], how: Preparation, folder: Path) -> None:
    """Prepare the sources into `folder` unless that was done before."""
    if (folder / MANIFEST).is_file():
        return
    names = expand(sources)
    log.info("preparing %s into %s", ", ".join(names), folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder.parent}: prepared data cannot be written there ({error.strerror}). Set"
            " data.cache_dir to a folder of yours."
        ) from None
    counts = ReadCounts()
    blocks = (parse_columns(block, counts) for block in read_blocks(names, counts=counts))
    prepare(blocks, folder, how, read=counts, sources=[_fingerprint(name) for name in names])


def _fingerprint(name: str) -> dict[str, Any]:
    if is_address(name):
        return {"name": name, "bytes": size(name)}
    path = Path(name)
    try:
        status = path.stat()
    except FileNotFoundError:  # told by whoever reads it, with what it was expected to hold
        return {"name": path.name}
    return {"name": path.name, "bytes": status.st_size, "modified_ns": status.st_mtime_ns}
