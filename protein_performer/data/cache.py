"""Prepared folders kept beside the data, found again by what they were made from."""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from protein_performer.data.prepare import MANIFEST, Preparation, prepare
from protein_performer.data.records import ReadCounts, read_records
from protein_performer.data.sources import expand

log = logging.getLogger(__name__)


def prepared_folder(sources: Sequence[str], how: Preparation, cache: Path) -> Path:
    """Where the prepared form of the sources belongs, whether it is there or not.

    A source, or a table of clusters, is known by its name, size and time of change, as for `make`:
    whoever replaces or touches one gets it prepared anew.
    """
    names = expand(sources)
    identity = {
        "how": how.definition(),
        "files": [_fingerprint(Path(name)) for name in [*names, *_tables(how)]],
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    stem = Path(names[0]).name.split(".")[0] or "proteins"
    return cache / f"{stem}-{digest[:12]}"


def prepare_once(sources: Sequence[str], how: Preparation, folder: Path) -> None:
    """Prepare the sources into `folder` unless that was done before."""
    if (folder / MANIFEST).is_file():
        return
    names = expand(sources)
    log.info("preparing %s into %s", ", ".join(names), folder)
    counts = ReadCounts()
    records = read_records(names, counts=counts)
    files = [_fingerprint(Path(name)) for name in names]
    prepare(records, folder, how, read=counts, sources=files)


def _tables(how: Preparation) -> list[str]:
    return [] if how.splits.clusters is None else [how.splits.clusters]


def _fingerprint(path: Path) -> dict[str, Any]:
    try:
        status = path.stat()
    except FileNotFoundError:  # told by whoever reads it, with what it was expected to hold
        return {"name": path.name}
    return {"name": path.name, "bytes": status.st_size, "modified_ns": status.st_mtime_ns}
