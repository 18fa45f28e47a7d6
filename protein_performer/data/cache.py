"""Prepared folders kept beside the data, found again by what they were made from."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from protein_performer.data.manifest import is_prepared, read_manifest
from protein_performer.data.preparing.preprocessing import Preprocessing, fingerprints
from protein_performer.data.reading.remote import is_address
from protein_performer.errors import UserError


def prepared_folder(sources: Sequence[str], how: Preprocessing, cache: Path | None) -> Path:
    """Where the prepared form of the sources belongs, whether it is there or not.

    Args:
        sources: see `Preprocessing.expand`.
        how: they are prepared.
        cache: the folder for such folders; None for `prepared/` beside the first source.
    """
    names = how.expand(sources)
    if cache is None and is_address(names[0]):
        raise UserError(f"data.cache_dir: expected a folder, since there is none beside {names[0]}")
    identity = json.dumps(fingerprints(sources, how), sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()
    home = how.home(names)
    stem = home.name.split(".")[0] or "proteins"
    return (cache or home.parent / "prepared") / f"{stem}-{digest[:12]}"


def other_forms(folder: Path, manifest: dict[str, Any]) -> list[Path]:
    """Other prepared folders beside this one, made from sources of the same names.

    Args:
        folder: of `prepared_folder`.
        manifest: of it.
    """
    stem = folder.name.rpartition("-")[0]
    alike = re.compile(re.escape(stem) + "-[0-9a-f]{12}")
    beside = [path for path in sorted(folder.parent.iterdir()) if alike.fullmatch(path.name)]
    ours = [each["name"] for each in manifest["sources"]]
    return [path for path in beside if path != folder and _source_names(path) in (ours, None)]


def _source_names(folder: Path) -> list[str] | None:
    """Of a prepared folder; None of one that no version of today reads; [] if it is none."""
    if not is_prepared(folder):
        return []
    try:
        return [each["name"] for each in read_manifest(folder)["sources"]]
    except UserError:
        return None
