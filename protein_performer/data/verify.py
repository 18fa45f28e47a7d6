"""Whether a prepared folder is what its manifest says: every byte, every count, every index."""

import tempfile
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protein_performer.alphabet import Alphabet
from protein_performer.byte_alphabet import alphabet_from
from protein_performer.data.duplicates import DigestFile
from protein_performer.data.encoding import digest_each
from protein_performer.data.prepared import open_split, read_manifest
from protein_performer.data.shards import SHARD_FILES, StoredSplit, shard_path
from protein_performer.data.splits import SPLITS, digest_names
from protein_performer.errors import UserError


class Verified(NamedTuple):
    """What was looked at."""

    proteins: int  # that take part
    residues: int  # of these
    leaks: int  # equal sequences among them: 0


def verify(folder: Path) -> Verified:
    """Compare the files of a prepared folder with its manifest and with each other.

    Checksums, sizes and counts; tokens within the alphabet; the index a permutation of the proteins
    that take part, in order of length; no sequence twice.

    Raises: UserError, naming the file, at the first thing that is wrong.
    """
    manifest = read_manifest(folder)
    proteins = residues = 0
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        digests = DigestFile(Path(scratch) / "digests")
        stack.callback(digests.close)
        for number, name in enumerate(SPLITS):
            split, entry = open_split(folder, manifest, name), manifest["splits"][name]
            for shard, meta in enumerate(entry["shards"]):
                _check_shard(split, shard, meta, manifest["definition"]["alphabet"])
            rows = _check_index(split, entry)
            _digest(split, rows, number, digests)
            proteins, residues = proteins + entry["proteins"], residues + entry["residues"]
        copies = digests.find_copies([len(_stored(folder, manifest, name)) for name in SPLITS])
    leaks = sum(within + across for within, across in copies.splits)
    if leaks:
        raise _wrong(folder, f"{leaks:,} proteins that take part are copies of another one")
    return Verified(proteins, residues, leaks)


def _stored(folder: Path, manifest: dict[str, Any], name: str) -> range:
    return range(sum(shard["proteins"] for shard in manifest["splits"][name]["shards"]))


def _check_shard(
    split: StoredSplit, shard: int, meta: dict[str, Any], alphabet: dict[str, Any]
) -> None:
    for kind in SHARD_FILES:
        path = shard_path(split.folder, shard, kind)
        if not path.is_file():
            raise _wrong(path, "missing")
        digest = sha256()
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
        if digest.hexdigest() != meta["sha256"][kind]:
            raise _wrong(path, "its checksum is not the manifest's")
    tokens, offsets = split.shard(shard)
    path = shard_path(split.folder, shard, "tokens")
    counts = len(offsets) - 1, len(split.accessions(shard)), len(tokens)
    if counts != (meta["proteins"], meta["proteins"], meta["residues"]):
        raise _wrong(path, f"counts {counts} where the manifest has {meta}")
    if np.any(offsets[1:] <= offsets[:-1]) or offsets[0] != 0:
        raise _wrong(path, "its offsets do not rise from 0")
    first, end = Alphabet.first_letter, len(alphabet_from(alphabet))
    if tokens.size and not first <= int(tokens.min()) <= int(tokens.max()) < end:
        raise _wrong(path, f"tokens outside {first} ... {end - 1}")


def _check_index(split: StoredSplit, entry: dict[str, Any]) -> NDArray[np.int64]:
    """The proteins that take part, in the order of the shards."""
    order = np.asarray(split.by_length(), dtype=np.int64)
    stored = sum(shard["proteins"] for shard in entry["shards"])
    lengths = np.concatenate(
        [np.zeros(0, np.uint64), *(np.diff(split.shard(s)[1]) for s in range(split.num_shards))]
    ).astype(np.int64)
    rows = np.sort(order)
    if (
        len(order) != entry["proteins"]
        or stored - len(order) != entry["duplicates"]
        or np.any(rows[1:] == rows[:-1])
        or (len(rows) and not 0 <= rows[0] <= rows[-1] < stored)
    ):
        raise _wrong(split.folder, "by_length.npy is no permutation of the proteins that take part")
    ordered = lengths[order]
    if np.any(np.diff(ordered) < 0) or int(ordered.sum()) != entry["residues"]:
        raise _wrong(split.folder, "by_length.npy is not in order of length")
    if not np.array_equal(np.bincount(ordered, minlength=1), split.length_counts()):
        raise _wrong(split.folder, "length_counts.npy does not count the lengths")
    return rows


def _digest(split: StoredSplit, rows: NDArray[np.int64], number: int, digests: DigestFile) -> None:
    for shard in range(split.num_shards):
        first = shard * split.shard_proteins
        here = rows[
            np.searchsorted(rows, first) : np.searchsorted(rows, first + split.shard_proteins)
        ]
        tokens, offsets = split.shard(shard)
        kept = here - first
        names = split.accessions(shard)
        sequence = digest_each(np.asarray(tokens), np.diff(offsets).astype(np.int64))[kept]
        accession = digest_names([names[i] for i in kept.tolist()])
        which = np.full(len(here), number, dtype=np.uint8)
        digests.add(np.column_stack([sequence, accession]), which, here)


def _wrong(path: Path, how: str) -> UserError:
    return UserError(f"{path}: {how}. The folder was damaged: remove it and prepare again.")
