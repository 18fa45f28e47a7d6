"""Whether a prepared folder is what its manifest says: every byte, every count, every index."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protein_performer.alphabet import Alphabet
from protein_performer.byte_alphabet import alphabet_from
from protein_performer.data.preparing.duplicates import DigestFile
from protein_performer.data.preparing.encoding import digest_each
from protein_performer.data.splits import SPLITS, digest_names
from protein_performer.data.storage.prepared import open_split, read_manifest
from protein_performer.data.storage.shards import SHARD_FILES, StoredSplit, file_sha256, shard_path
from protein_performer.errors import UserError

_TOGETHER = 2**20  # proteins whose lengths are looked up at once


class Verified(NamedTuple):
    """What was looked at."""

    proteins: int  # that take part
    residues: int  # of these
    leaks: int  # equal sequences among them: 0


def verify(folder: Path) -> Verified:
    """Compare the files of a prepared folder with its manifest and with each other.

    Checksums, sizes and counts; tokens within the alphabet; the index a permutation of the proteins
    that take part, in order of length; no sequence twice. Memory is that of one shard, and a byte a
    protein; on disk, 32 bytes a protein for a while.

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
            _digest(split, _check_index(split, entry), number, digests)
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
        if file_sha256(path) != meta["sha256"][kind]:
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


def _check_index(split: StoredSplit, entry: dict[str, Any]) -> NDArray[np.bool_]:
    """(stored proteins,) which of them take part."""
    order = split.by_length()
    stored = sum(shard["proteins"] for shard in entry["shards"])
    takes_part = np.zeros(stored, dtype=np.bool_)
    for rows in _pieces(order):
        takes_part[rows[(rows >= 0) & (rows < stored)]] = True
    if (
        len(order) != entry["proteins"]
        or stored - len(order) != entry["duplicates"]
        or np.count_nonzero(takes_part) != len(order)  # one occurs twice, or is none
    ):
        raise _wrong(split.folder, "by_length.npy is no permutation of the proteins that take part")
    counts, before = np.zeros_like(split.length_counts()), 0
    for rows in _pieces(order):
        lengths = _lengths(split, rows)
        if lengths[0] < before or np.any(np.diff(lengths) < 0):
            raise _wrong(split.folder, "by_length.npy is not in order of length")
        before = int(lengths[-1])
        if before >= len(counts):
            raise _wrong(split.folder, "length_counts.npy does not count the lengths")
        counts += np.bincount(lengths, minlength=len(counts))
    if not np.array_equal(counts, split.length_counts()):
        raise _wrong(split.folder, "length_counts.npy does not count the lengths")
    if int(counts @ np.arange(len(counts))) != entry["residues"]:
        raise _wrong(split.folder, f"expected {entry['residues']:,} residues that take part")
    for name, digest in entry.get("index_sha256", {}).items():
        if file_sha256(split.folder / name) != digest:
            raise _wrong(split.folder / name, "its checksum is not the manifest's")
    return takes_part


def _pieces(order: NDArray[np.integer]) -> Iterator[NDArray[np.int64]]:
    for begin in range(0, len(order), _TOGETHER):
        yield order[begin : begin + _TOGETHER].astype(np.int64)


def _lengths(split: StoredSplit, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) residues of some proteins, in their order."""
    shard, row = np.divmod(rows, split.shard_proteins)
    lengths = np.empty(len(rows), dtype=np.int64)
    by_shard = np.argsort(shard, kind="stable")
    for here in np.split(by_shard, np.flatnonzero(np.diff(shard[by_shard])) + 1):
        offsets = split.shard(int(shard[here[0]]))[1]
        lengths[here] = offsets[row[here] + 1] - offsets[row[here]]
    return lengths


def _digest(
    split: StoredSplit, takes_part: NDArray[np.bool_], number: int, digests: DigestFile
) -> None:
    for shard in range(split.num_shards):
        first = shard * split.shard_proteins
        kept = np.flatnonzero(takes_part[first : first + split.shard_proteins])
        tokens, offsets = split.shard(shard)
        names = split.accessions(shard)
        sequence = digest_each(np.asarray(tokens), np.diff(offsets).astype(np.int64))[kept]
        accession = digest_names([names[i] for i in kept.tolist()])
        which = np.full(len(kept), number, dtype=np.uint8)
        digests.add(np.column_stack([sequence, accession]), which, first + kept)


def _wrong(path: Path, how: str) -> UserError:
    return UserError(f"{path}: {how}. The folder was damaged: remove it and prepare again.")
