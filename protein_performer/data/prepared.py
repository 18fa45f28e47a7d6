"""A prepared folder as it lies on the disk: its manifest and its splits."""

import json
from pathlib import Path
from typing import Any

from protein_performer.data.shards import StoredSplit
from protein_performer.errors import UserError

FORMAT = 2  # of the prepared folder; another number, another layout
MANIFEST = "manifest.json"


def is_prepared(folder: Path) -> bool:
    """Whether a folder holds finished shards."""
    return (folder / MANIFEST).is_file()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a prepared folder.

    Raises: UserError if the folder is none, or of another format.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        found = manifest["definition"]["format"]
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder}: not a prepared folder, it has no {MANIFEST}") from None
    except (ValueError, KeyError) as error:
        raise UserError(f"{folder / MANIFEST}: damaged ({error}). Prepare again.") from None
    if found != FORMAT:
        raise UserError(
            f"{folder}: prepared in format {found}, this version reads {FORMAT}. Prepare again."
        )
    return manifest


def open_split(folder: Path, manifest: dict[str, Any], name: str) -> StoredSplit:
    """One of `SPLITS` of a prepared folder whose manifest this is."""
    entry = manifest["splits"][name]
    return StoredSplit(
        folder / name,
        shard_proteins=manifest["definition"]["shard_proteins"],
        shards=len(entry["shards"]),
        proteins=entry["proteins"],
    )
