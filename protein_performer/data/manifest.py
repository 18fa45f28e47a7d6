"""The manifest of a prepared folder: what lies in it, and how it was made."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from protein_performer.alphabet import Alphabet
from protein_performer.byte_alphabet import alphabet_from
from protein_performer.data.manifest_form import check_form
from protein_performer.data.shards import ShardMeta, SplitMeta, StoredSplit
from protein_performer.data.splits import SPLITS
from protein_performer.errors import UserError

FORMAT = 3  # of the prepared folder; another number, another layout
_WITH_VALID = 2  # the format that called `val` `valid`, and is read as well
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
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{folder}/{MANIFEST}: cannot be read ({error})") from None
    return parse_manifest(text, str(folder))


def parse_manifest(text: str, where: str) -> dict[str, Any]:
    """The manifest of a prepared folder that lies anywhere, checked as far as it names files.

    Args:
        text: of its file.
        where: the folder or its address, for messages.

    Raises: UserError, as `read_manifest`.
    """
    try:
        manifest: dict[str, Any] = json.loads(text)
        found = manifest["definition"]["format"]
        if found == _WITH_VALID:
            _rename_valid(manifest)
        if found in (_WITH_VALID, FORMAT):
            check_form(manifest)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{where}/{MANIFEST}: damaged, or none of ours ({type(error).__name__}: {error})."
            " Prepare again."
        ) from None
    if found not in (_WITH_VALID, FORMAT):
        raise UserError(
            f"{where}: prepared in format {found}, this version reads {FORMAT}. Prepare again."
        )
    return manifest


def _rename_valid(manifest: dict[str, Any]) -> None:
    rule = manifest["definition"].get("splits")  # books have none
    if rule is not None:
        rule["val"] = rule.pop("valid")
    entries = manifest["splits"]
    manifest["splits"] = {
        name: entries["valid" if name == "val" else name] for name in SPLITS if entries
    }
    for entry in manifest["splits"].values():
        entry["characters"] = entry.pop("met")


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


def split_folder(manifest: dict[str, Any], name: str) -> str:
    """The folder of one of `SPLITS` within a prepared one."""
    older = manifest["definition"]["format"] == _WITH_VALID
    return "valid" if older and name == "val" else name


def open_split(folder: Path, manifest: dict[str, Any], name: str) -> StoredSplit:
    """One of `SPLITS` of a prepared folder whose manifest this is."""
    meta = split_meta(manifest, name)
    path = folder / split_folder(manifest, name)
    return StoredSplit(path, meta, manifest["definition"]["shard_proteins"])


def split_meta(manifest: dict[str, Any], name: str) -> SplitMeta:
    """What one of `SPLITS` must hold."""
    entry = manifest["splits"][name]
    shards = [ShardMeta(**shard) for shard in entry["shards"]]
    return SplitMeta(entry["proteins"], shards, entry.get("index_sha256", {}))


class Verified(NamedTuple):
    """What was read and compared."""

    proteins: int  # that take part
    residues: int  # of these


def verify(folder: Path) -> Verified:
    """Compare every file of a prepared folder with its checksum, and the manifest with its own.

    The checksums are of the bytes as they were written, and are never made from the files.

    Raises: UserError, naming the file, at the first thing that is wrong.
    """
    manifest = read_manifest(folder)
    for name in SPLITS:
        open_split(folder, manifest, name).check()
    entries = manifest["splits"]
    if content_digest(entries) != manifest["content"]:
        raise UserError(f"{folder}/{MANIFEST}: damaged (its shards are not those of its content)")
    return Verified(*(sum(entry[key] for entry in entries.values()) for key in Verified._fields))


def content_digest(entries: dict[str, Any]) -> str:
    """One digest of all shards of all splits: of equal data, whatever their sources' names."""
    digests = [shard["sha256"] for entry in entries.values() for shard in entry["shards"]]
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()
