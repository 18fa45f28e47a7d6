"""Records -> a prepared folder: read once, encode, split, find copies, sort by length.

The folder appears whole or not at all: everything is written beside it and then renamed.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protein_performer.alphabet import Alphabet, ResiduePolicy
from protein_performer.data.duplicates import DuplicateFinder, digest_each
from protein_performer.data.encoding import Encoder, in_larger_blocks
from protein_performer.data.index import write_index
from protein_performer.data.records import Columns, ReadCounts
from protein_performer.data.shards import ShardWriter, StoredSplit
from protein_performer.data.splits import OOD, SPLITS, SplitRule
from protein_performer.errors import UserError

FORMAT = 1  # of the prepared folder; another number, another layout
MANIFEST = "manifest.json"
SHARD_PROTEINS = 2**18


@dataclass(frozen=True)
class Preparation:
    """How records become tokens in splits.

    Attributes:
        alphabet: see there.
        residue_policy: for characters outside it.
        splits: see there.
        shard_proteins: proteins of a shard.
    """

    alphabet: Alphabet
    residue_policy: ResiduePolicy
    splits: SplitRule
    shard_proteins: int = SHARD_PROTEINS

    def definition(self) -> dict[str, Any]:
        """All of it, in plain types."""
        return {"format": FORMAT, **asdict(self)}


def prepare(
    blocks: Iterable[Columns],
    folder: Path,
    how: Preparation,
    *,
    read: ReadCounts,
    sources: Any = None,
) -> None:
    """Write a prepared folder, atomically; where another process was faster, keep its.

    Memory does not grow with the number of records but for a byte a protein in the last step.

    Args:
        blocks: records, in any order; the splits do not depend on it.
        folder: must not exist; its parent is made.
        how: see there.
        read: what the reader counted, complete when `blocks` are at their end.
        sources: whatever identifies them, in plain types, for the manifest.

    Raises: UserError for bad records (see `Alphabet.encode`) and if there are none. Then, as after
        any other exception, nothing is left behind.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        manifest = _write_all(blocks, partial, how)
        manifest |= {"sources": sources, "read": asdict(read)}
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        partial.chmod(0o755)  # mkdtemp's is for its owner alone
        try:
            partial.rename(folder)
        except OSError:
            if not (folder / MANIFEST).is_file():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_all(blocks: Iterable[Columns], folder: Path, how: Preparation) -> dict[str, Any]:
    writers = [ShardWriter(folder / name, how.shard_proteins) for name in SPLITS]
    finder = DuplicateFinder(folder / "digests")
    encoder = Encoder(how.alphabet, how.residue_policy)
    try:
        for chunk in in_larger_blocks(blocks):
            _write_chunk(chunk, encoder, how.splits, writers, finder)
    finally:
        for writer in writers:
            writer.close()
    _check_not_empty(writers, how.splits)
    duplicates = finder.duplicates([writer.proteins for writer in writers])
    splits = {
        name: _describe(writer, duplicate, how)
        for name, writer, duplicate in zip(SPLITS, writers, duplicates, strict=True)
    }
    return {
        "definition": how.definition(),
        "content": _content(splits),
        "residues": asdict(encoder.counts),
        "emptied": encoder.emptied,
        "splits": splits,
    }


def _write_chunk(
    chunk: Columns,
    encoder: Encoder,
    rule: SplitRule,
    writers: list[ShardWriter],
    finder: DuplicateFinder,
) -> None:
    accessions, lengths, tokens = encoder.encode(chunk)
    digests = digest_each(tokens, lengths)
    split = rule.assign(accessions, digests[:, 0])
    index = np.empty(len(split), dtype=np.int64)
    for number, writer in enumerate(writers):
        here = split == number
        index[here] = writer.proteins + np.arange(np.count_nonzero(here))
        names = [accessions[i] for i in np.flatnonzero(here)]
        writer.write(names, lengths[here], tokens[np.repeat(here, lengths)])
    finder.add(digests, split, index)


def _check_not_empty(writers: list[ShardWriter], rule: SplitRule) -> None:
    if not any(writer.proteins for writer in writers):
        raise UserError("expected at least one protein to prepare, the sources have none")
    if rule.ood > 0 and not writers[OOD].proteins:
        raise UserError(
            f"{rule.clusters}: none of the accessions of its held-out clusters is among the"
            " sources' (`db|ACCESSION|name` or the header's first word). Is it their table?"
        )


def _describe(
    writer: ShardWriter, duplicate: NDArray[np.bool_], how: Preparation
) -> dict[str, Any]:
    """Index a finished split; its entry in the manifest."""
    stored = StoredSplit(
        writer.folder, shard_proteins=how.shard_proteins, shards=len(writer.shards), proteins=0
    )
    counts = write_index(stored, duplicate, len(how.alphabet))
    return {
        "proteins": counts.proteins,
        "residues": counts.residues,
        "duplicates": int(duplicate.sum()),
        "residue_counts": counts.by_token.tolist(),
        "shards": [shard._asdict() for shard in writer.shards],
    }


def _content(splits: dict[str, Any]) -> str:
    """One digest of all tokens in all splits: equal folders, whatever their sources' names."""
    digests = [shard["sha256"] for split in splits.values() for shard in split["shards"]]
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a prepared folder.

    Raises: UserError if the folder is none, or of another format.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        found = manifest["definition"]["format"]
    except FileNotFoundError:
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
