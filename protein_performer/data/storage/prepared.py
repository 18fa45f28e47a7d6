"""A prepared folder as it lies on the disk: its manifest and its splits."""

import json
from pathlib import Path
from typing import Any

from protein_performer.alphabet import Alphabet
from protein_performer.byte_alphabet import alphabet_from
from protein_performer.data.storage.shards import StoredSplit
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
        text = (folder / MANIFEST).read_text()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder}: not a prepared folder, it has no {MANIFEST}") from None
    return parse_manifest(text, str(folder))


def parse_manifest(text: str, where: str) -> dict[str, Any]:
    """The manifest of a prepared folder that lies anywhere.

    Args:
        text: of its file.
        where: the folder or its address, for messages.

    Raises: UserError, as `read_manifest`.
    """
    try:
        manifest: dict[str, Any] = json.loads(text)
        found = manifest["definition"]["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{where}/{MANIFEST}: damaged ({error}). Prepare again.") from None
    if found != FORMAT:
        raise UserError(
            f"{where}: prepared in format {found}, this version reads {FORMAT}. Prepare again."
        )
    return manifest


def check_alphabet(manifest: dict[str, Any], expected: Alphabet | None, where: str) -> None:
    """Raise UserError if a folder was prepared with another alphabet than expected.

    Args:
        manifest: of the folder.
        expected: None for any.
        where: the folder or its address.
    """
    found = alphabet_from(manifest["definition"]["alphabet"])
    if expected is not None and found != expected:
        raise UserError(
            f"{where}: prepared with {found}, and data.alphabet is {expected}. Set"
            " data.alphabet=null to take the folder's, or prepare again with this one."
        )


def open_split(folder: Path, manifest: dict[str, Any], name: str) -> StoredSplit:
    """One of `SPLITS` of a prepared folder whose manifest this is."""
    entry = manifest["splits"][name]
    return StoredSplit(
        folder / name,
        shard_proteins=manifest["definition"]["shard_proteins"],
        shards=len(entry["shards"]),
        proteins=entry["proteins"],
    )
