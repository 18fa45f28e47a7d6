"""The form of a manifest: one from elsewhere is compared with it before anything of it is used."""

from typing import Any

from protein_performer.byte_alphabet import alphabet_from
from protein_performer.data.shards import SHARD_FILES
from protein_performer.data.splits import SPLITS


class Count:
    """A number of things, from 0 to what an array can hold."""


_MOST = 2**53
_SHARD = {
    "proteins": Count,
    "residues": Count,
    "sha256": dict.fromkeys(SHARD_FILES, str),
}
_SPLIT = {
    **dict.fromkeys(("proteins", "residues", "duplicates", "copies_across_splits"), Count),
    "characters": dict.fromkeys(("lower_case", "rare", "unknown", "skipped"), Count),
    "residue_counts": [Count],
    "index_sha256?": dict,
    "shards": [_SHARD],
}
_FORM = {
    "definition": {"alphabet": dict, "residue_policy": str, "shard_proteins": Count},
    "content": str,
    "sources": [{"name": str}],
    "read": {
        **dict.fromkeys(("records", "residues", "empty"), Count),
        **dict.fromkeys(("files?", "bytes_read?", "spaced?", "blank?", "non_ascii?"), Count),
        "examples?": dict,
    },
    **dict.fromkeys(("emptied", "repeated_accessions", "unlisted_accessions?"), Count),
    "splits": dict.fromkeys(SPLITS, _SPLIT),
}


def check_form(manifest: dict[str, Any]) -> None:
    """Compare a manifest with the form, and its counts with each other.

    Names of files come from this file alone: whatever a manifest says, nothing else is touched.

    Raises: ValueError that names the key.
    """
    _compare(manifest, _FORM, "")
    if set(manifest["splits"]) != set(SPLITS):
        raise ValueError(f"splits: expected {SPLITS}, got {list(manifest['splits'])}")
    size = manifest["definition"]["shard_proteins"]
    tokens = len(alphabet_from(manifest["definition"]["alphabet"]))
    for name, entry in manifest["splits"].items():
        stored = [shard["proteins"] for shard in entry["shards"]]
        if sum(stored) != entry["proteins"] + entry["duplicates"]:
            raise ValueError(f"splits.{name}: its shards do not hold its proteins and duplicates")
        if any(each != size for each in stored[:-1]) or any(each > size for each in stored):
            raise ValueError(f"splits.{name}: its shards do not hold {size} proteins each")
        if len(entry["residue_counts"]) != tokens:
            raise ValueError(f"splits.{name}.residue_counts: expected {tokens}, one a token")
        if any(not isinstance(each, str) for each in entry.get("index_sha256", {}).values()):
            raise ValueError(f"splits.{name}.index_sha256: expected checksums")


def _compare(found: Any, form: Any, key: str) -> None:
    if isinstance(form, dict) and isinstance(found, dict):
        for name, inner in form.items():
            plain = name.rstrip("?")
            if plain in found:
                _compare(found[plain], inner, f"{key}.{plain}".lstrip("."))
            elif plain == name:
                raise ValueError(f"expected {key + '.' if key else ''}{name}, and there is none")
    elif isinstance(form, list) and isinstance(found, list):
        for number, each in enumerate(found):
            _compare(each, form[0], f"{key}[{number}]")
    elif form is Count:
        if type(found) is not int or not 0 <= found < _MOST:
            raise ValueError(f"{key}: expected a count, got {str(found)[:40]!r}")
    elif not isinstance(found, form if isinstance(form, type) else type(form)):
        raise ValueError(f"{key}: expected another type, got {str(found)[:40]!r}")
