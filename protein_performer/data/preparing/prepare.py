"""Sources -> a prepared folder: read once, encode, split, find copies, sort by length.

The folder appears whole or not at all: it grows beside its place, under a hidden name, and a killed
preparation goes on from there (see `work`).
"""

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from protein_performer.addresses import is_address
from protein_performer.alphabet import Alphabet, ResidueCounts, ResiduePolicy
from protein_performer.data.manifest import (
    FORMAT,
    MANIFEST,
    content_digest,
    is_prepared,
    read_manifest,
)
from protein_performer.data.preparing.duplicates import Copies
from protein_performer.data.preparing.journal import DIGESTS, JOURNAL, Work, write_whole
from protein_performer.data.preparing.length_index import write_index
from protein_performer.data.preparing.parallel import tokenize_all
from protein_performer.data.preparing.preprocessing import Preprocessing, fingerprints
from protein_performer.data.preparing.tokenizer import Tokenizer, bundled
from protein_performer.data.reading.reader import Place, PlacedBlock, first_records, read_from
from protein_performer.data.reading.record import ReadCounts
from protein_performer.data.reading.sources import expand, size
from protein_performer.data.shards import (
    BY_LENGTH,
    LENGTH_COUNTS,
    SplitMeta,
    StoredSplit,
    file_sha256,
)
from protein_performer.data.splits import SPLITS, SplitRule
from protein_performer.errors import UserError
from protein_performer.files import locked

SHARD_PROTEINS = 2**18
COMMIT_SECONDS = 30.0

log = logging.getLogger(__name__)

OnProgress = Callable[[int, int, int], None]  # bytes read, of how many (0: not known), records


@dataclass(frozen=True)
class ProteinPreprocessing:
    """How proteins become tokens in splits; see `Preprocessing`.

    Attributes:
        alphabet: see there.
        residue_policy: for characters outside it.
        splits: see there.
        shard_proteins: proteins of a shard.
        head: only so many records, the first of the sources; None for all.
    """

    alphabet: Alphabet
    residue_policy: ResiduePolicy
    splits: SplitRule
    shard_proteins: int = SHARD_PROTEINS
    head: int | None = None

    @property
    def holds_out(self) -> bool:
        """Whether there is an OOD split."""
        return self.splits.holds_out

    @property
    def tables(self) -> list[str]:
        """The table of clusters, if there is one."""
        return [] if self.splits.clusters is None else [self.splits.clusters]

    @property
    def advice(self) -> str:
        """What to do about an empty split."""
        return f"Give more proteins, or raise its share in data.splits ({self.splits})."

    def definition(self) -> dict[str, Any]:
        """All of it, in plain types, as JSON gives them back."""
        definition: dict[str, Any] = json.loads(json.dumps({"format": FORMAT, **asdict(self)}))
        if self.head is None:  # folders of whole sources say nothing of it
            del definition["head"]
        return definition

    @classmethod
    def from_definition(cls, definition: dict[str, Any]) -> "ProteinPreprocessing":
        """What `definition` told, as a manifest has it."""
        return cls(
            Alphabet(**definition["alphabet"]),
            definition["residue_policy"],
            SplitRule(**definition["splits"]),
            definition["shard_proteins"],
            definition.get("head"),
        )

    def expand(self, sources: Sequence[str]) -> list[str]:
        """See `sources.expand`."""
        return expand(sources)

    def label(self, name: str) -> str:
        """A file's name, without its folder."""
        return Path(name).name

    def home(self, names: Sequence[str]) -> Path:
        """The first source."""
        return Path(names[0])

    def read_from(
        self, names: Sequence[str], start: Place, counts: ReadCounts
    ) -> Iterator[PlacedBlock]:
        """See `reader.read_from`."""
        return read_from(names, start, counts)

    def tokenizer(self) -> Tokenizer:
        """Of FASTA and flat files."""
        return Tokenizer(self.alphabet, self.residue_policy, self.splits)

    def check_sizes(self, sizes: Sequence[int]) -> None:
        """Raise UserError if there is no protein, or none to hold out though that was wanted."""
        if not any(sizes):
            raise UserError("expected at least one protein to prepare, the sources have none")
        part = ""
        if self.head is not None:
            part = f" Only the first {self.head:,} records were looked at: perhaps raise data.head."
        self.splits.check_sizes(sizes, part)


def prepare(
    sources: Sequence[str],
    folder: Path,
    how: Preprocessing,
    *,
    workers: int = 0,
    on_progress: OnProgress | None = None,
    commit_seconds: float = COMMIT_SECONDS,
) -> dict[str, Any]:
    """Write a prepared folder, in one step; go on with it where a killed process stopped.

    Memory does not grow with the number of records; what does is on the disk.

    Args:
        sources: see `Preprocessing.expand`; the splits do not depend on the records' order.
        folder: if it is there and made from the same, nothing is done. Its parent is made.
        how: see there.
        workers: processes that encode, beside this one that reads and writes; 0 does all here.
            The result is the same, byte for byte.
        on_progress: told (bytes read of the sources as stored, of how many or 0, records).
        commit_seconds: at most so much work is lost when the process is killed.

    Returns: the manifest.
    Raises: UserError for bad records (see `Alphabet.encode`), if there are none, and if `folder` is
        something else. What was written is thrown away then, unless the sources are at addresses:
        a broken connection is gone on from.
    """
    names, identity = how.expand(sources), fingerprints(sources, how)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = folder.with_name(f".{folder.name}.lock")
        with locked(lock):
            if folder.exists() and (is_prepared(folder) or any(folder.iterdir())):
                return _same(folder, identity)
            growing = folder.with_name(f".{folder.name}.partial")
            if not is_prepared(growing):
                _prepare(names, growing, how, identity, workers, on_progress, commit_seconds)
            for leftover in (JOURNAL, DIGESTS):
                (growing / leftover).unlink(missing_ok=True)
            growing.rename(folder)
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise UserError(
            f"{folder}: prepared data cannot be written there ({error.strerror}). Set a folder of"
            " yours (in training: data.cache_dir)."
        ) from None
    return read_manifest(folder)


def _same(folder: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """The manifest of what is there, if that is what is wanted."""
    manifest = read_manifest(folder)
    differing = [key for key in identity if manifest[key] != identity[key]]
    if differing:
        told = "; ".join(f"{key}: {manifest[key]} there, {identity[key]} now" for key in differing)
        raise UserError(
            f"{folder}: there already, but prepared otherwise ({told}). Name another folder, or"
            " remove it."
        )
    return manifest


def _prepare(
    names: list[str],
    growing: Path,
    how: Preprocessing,
    identity: dict[str, Any],
    workers: int,
    on_progress: OnProgress | None,
    commit_seconds: float,
) -> None:
    """Fill the growing folder, its manifest last."""
    work = Work(
        growing,
        identity,
        vocabulary_size=len(how.alphabet),
        shard_proteins=how.shard_proteins,
        commit_seconds=commit_seconds,
    )
    if work.goes_on:
        log.info("going on behind %s records", f"{work.progress.read.records:,}")
    try:
        read = _write_shards(names, work, how, workers, on_progress)
        write_whole(growing / MANIFEST, {**identity, **_finish(work, how, read)})
    except UserError:
        if not any(map(is_address, names)):
            shutil.rmtree(growing, ignore_errors=True)
        raise
    finally:
        work.close()


def _write_shards(
    names: list[str],
    work: Work,
    how: Preprocessing,
    workers: int,
    on_progress: OnProgress | None,
) -> ReadCounts:
    """Write all records that the journal does not tell of; what was read, from the first on."""
    reading = ReadCounts()  # files and bytes, as far as the reader is
    total = sum(size(name) or 0 for name in names) if how.head is None else 0
    blocks = how.read_from(names, work.progress.behind, reading)
    if how.head is not None:
        done = work.progress.read
        blocks = first_records(blocks, how.head - done.records - done.empty)
    for bundle, tokenized in tokenize_all(bundled(blocks, reading), how.tokenizer(), workers):
        work.add(tokenized, bundle.behind)
        if on_progress is not None:
            on_progress(bundle.bytes_read, total, work.progress.read.records)
    read = ReadCounts()
    read.add(work.progress.read)
    read.add(reading)
    return read


def _finish(work: Work, how: Preprocessing, read: ReadCounts) -> dict[str, Any]:
    """Find copies, index, and describe."""
    for writer in work.writers:
        writer.close()
    how.check_sizes(work.sizes)
    copies = work.digests.find_copies(work.sizes)
    splits = {name: _describe(work, number, copies, how) for number, name in enumerate(SPLITS)}
    met = ResidueCounts()
    for each in work.progress.characters:
        met.add(each)
    return {
        "content": content_digest(splits),
        "read": asdict(read),
        "residues": asdict(met),
        "emptied": work.progress.emptied,
        "leaks": copies.leaks,
        "repeated_accessions": copies.repeated_accessions,
        "splits": splits,
    }


def _describe(work: Work, number: int, copies: Copies, how: Preprocessing) -> dict[str, Any]:
    """Index a finished split; its entry in the manifest."""
    writer = work.writers[number]
    stored = StoredSplit(
        writer.folder,
        SplitMeta(0, [shard._replace(sha256={}) for shard in writer.shards], {}),
        how.shard_proteins,
    )
    counts = write_index(stored, copies.left_out[number], work.progress.by_token[number])
    within, across = copies.splits[number]
    return {
        "proteins": counts.proteins,
        "residues": counts.residues,
        "duplicates": within + across,
        "copies_across_splits": across,
        "characters": asdict(work.progress.characters[number]),
        "residue_counts": counts.by_token.tolist(),
        "index_sha256": {
            name: file_sha256(writer.folder / name) for name in (BY_LENGTH, LENGTH_COUNTS)
        },
        "shards": [shard._asdict() for shard in writer.shards],
    }
