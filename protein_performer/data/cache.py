"""Prepared folders kept beside the data, found again by what they were made from."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from protein_performer.data.recipe import Recipe, fingerprints
from protein_performer.data.remote import is_address
from protein_performer.errors import UserError


def prepared_folder(sources: Sequence[str], how: Recipe, cache: Path | None) -> Path:
    """Where the prepared form of the sources belongs, whether it is there or not.

    Args:
        sources: see `Recipe.expand`.
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
