"""Sources -> a prepared folder: read once, tokenize, split, find copies, sort by length.

The folder appears whole or not at all: it grows beside its place, under a hidden name, and a killed
preparation goes on from there (see `journal`).
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from protein_performer.addresses import is_address
from protein_performer.alphabet import ResidueCounts
from protein_performer.data.clusters import read_digests
from protein_performer.data.manifest import MANIFEST, content_digest, is_prepared, read_manifest
from protein_performer.data.preparing.duplicates import Copies
from protein_performer.data.preparing.journal import Work, remove_notes
from protein_performer.data.preparing.length_index import write_index
from protein_performer.data.preparing.parallel import tokenize_all
from protein_performer.data.preparing.preprocessing import Preprocessing, fingerprints
from protein_performer.data.preparing.tokenizer import bundled
from protein_performer.data.reading.reader import first_records
from protein_performer.data.reading.record import ReadCounts
from protein_performer.data.reading.sources import size
from protein_performer.data.shards import (
    BY_LENGTH,
    LENGTH_COUNTS,
    SplitMeta,
    StoredSplit,
    file_sha256,
)
from protein_performer.data.splits import SPLITS
from protein_performer.errors import UserError
from protein_performer.files import locked, replacing

COMMIT_SECONDS = 30.0

OnProgress = Callable[[int, int, int], None]  # bytes read, of how many (0: not known), records


def prepare(
    sources: Sequence[str],
    folder: Path,
    how: Preprocessing,
    *,
    workers: int = 0,
    on_progress: OnProgress = lambda done, total, records: None,
    commit_seconds: float = COMMIT_SECONDS,
) -> dict[str, Any]:
    """Write a prepared folder, in one step; go on with it where a killed process stopped.

    Memory does not grow with the number of records; what does is on the disk.

    Args:
        sources: see `Preprocessing.expand`; the splits do not depend on the records' order.
        folder: if it is there and made from the same, nothing is done. Its parent is made.
        how: see there.
        workers: processes that tokenize, beside this one that reads and writes; 0 does all here.
            The result is the same, byte for byte.
        on_progress: called with (bytes read of the sources as stored, of how many or 0, records).
        commit_seconds: at most so much work is lost when the process is killed.

    Returns: the manifest.
    Raises: UserError for bad records (see `Alphabet.encode`), if there are none, and if `folder` is
        something else. What was written is thrown away then, unless the sources are at addresses:
        a broken connection is gone on from.
    """
    names, identity = how.expand(sources), fingerprints(sources, how)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(lock_of(folder)):
            if folder.exists() and (is_prepared(folder) or any(folder.iterdir())):
                return _same(folder, identity)
            growing = folder.with_name(f".{folder.name}.partial")
            if growing.is_symlink() or not is_prepared(growing):
                work = Work(growing, identity, how, commit_seconds)
                _fill(work, names, how, workers, on_progress)
            remove_notes(growing)
            growing.rename(folder)
    except OSError as error:
        raise UserError(
            f"{folder}: prepared data cannot be written there ({error.strerror or error}). Set a"
            " folder of yours (in training: data.cache_dir)."
        ) from None
    return read_manifest(folder)


def lock_of(folder: Path) -> Path:
    """The file that a process holds while it writes a prepared folder."""
    return folder.with_name(f".{folder.name}.lock")


def _same(folder: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """The manifest of what is there, if that is what is wanted."""
    manifest = read_manifest(folder)
    differing = [key for key in identity if manifest[key] != identity[key]]
    if differing:
        how = "; ".join(f"{key}: {manifest[key]} there, {identity[key]} now" for key in differing)
        raise UserError(
            f"{folder}: there already, but prepared otherwise ({how}). Name another folder, or"
            " remove it."
        )
    return manifest


def _fill(
    work: Work, names: list[str], how: Preprocessing, workers: int, on_progress: OnProgress
) -> None:
    """Fill the growing folder, its manifest last."""
    try:
        read = _write_shards(work, names, how, workers, on_progress)
        manifest = {**work.identity, **_finish(work, how, read)}
        with replacing(work.folder / MANIFEST) as partial:
            partial.write_text(json.dumps(manifest, indent=1) + "\n")
    except UserError:
        if not any(map(is_address, names)):
            shutil.rmtree(work.folder, ignore_errors=True)
        raise
    finally:
        work.close()


def _write_shards(
    work: Work, names: list[str], how: Preprocessing, workers: int, on_progress: OnProgress
) -> ReadCounts:
    """Write all records that the journal has not; what was read, from the first on."""
    reading = ReadCounts()  # files and bytes, as far as the reader is
    total = sum(size(name) or 0 for name in names) if how.head is None else 0
    blocks = how.read_from(names, work.progress.behind, reading)
    if how.head is not None:
        done = work.progress.read
        blocks = first_records(blocks, how.head - done.records - done.empty)
    for bundle, tokenized in tokenize_all(bundled(blocks, reading), how.tokenizer(), workers):
        work.add(tokenized, bundle.behind)
        on_progress(bundle.bytes_read, total, work.progress.read.records)
    read = ReadCounts()
    read.add(work.progress.read)
    read.add(reading)
    return read


def _finish(work: Work, how: Preprocessing, read: ReadCounts) -> dict[str, Any]:
    """Find copies, index, and describe."""
    for writer in work.writers:
        writer.finish()
    how.check_sizes(work.sizes)
    copies = work.digests.find_copies(work.sizes)
    listed = (digests for table in how.tables for _, digests in read_digests(table))
    repeated, unlisted = work.digests.count_names(listed if how.tables else None)
    splits = {name: _describe(work, number, copies, how) for number, name in enumerate(SPLITS)}
    characters = ResidueCounts()
    for each in work.progress.characters:
        characters.add(each)
    return {
        "content": content_digest(splits),
        "read": asdict(read),
        "residues": asdict(characters),
        "emptied": work.progress.emptied,
        "repeated_accessions": repeated,
        "unlisted_accessions": unlisted,
        "splits": splits,
    }


def _describe(work: Work, number: int, copies: Copies, how: Preprocessing) -> dict[str, Any]:
    """Index a finished split; its entry in the manifest."""
    writer = work.writers[number]
    unchecked = [shard._replace(sha256={}) for shard in writer.shards]  # they were just written
    stored = StoredSplit(writer.folder, SplitMeta(0, unchecked, {}), how.shard_proteins)
    counts = write_index(stored, copies.left_out[number], work.progress.by_token[number])
    return {
        "proteins": counts.proteins,
        "residues": counts.residues,
        "duplicates": copies.within[number] + copies.across[number],
        "copies_across_splits": copies.across[number],
        "characters": asdict(work.progress.characters[number]),
        "residue_counts": counts.by_token.tolist(),
        "index_sha256": {
            name: file_sha256(writer.folder / name) for name in (BY_LENGTH, LENGTH_COUNTS)
        },
        "shards": [shard._asdict() for shard in writer.shards],
    }
