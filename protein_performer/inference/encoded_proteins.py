"""Files of proteins to encoded proteins, in chunks that fit into memory, with a count of all."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from protein_performer.addresses import is_address
from protein_performer.alphabet import Alphabet, ResidueCounts, ResiduePolicy
from protein_performer.data.reading.columns import parse_records, record_place
from protein_performer.data.reading.reader import Place, read_from
from protein_performer.data.reading.record import ReadCounts, Record
from protein_performer.data.reading.sources import Source, expand
from protein_performer.data.reading.text_blocks import TextBlock
from protein_performer.errors import UserError
from protein_performer.inference.batcher import Codes

# Of a chunk: enough to make batches of similar length, little enough to keep in memory.
CHUNK_RECORDS, CHUNK_RESIDUES = 1024, 1 << 19


class Protein(NamedTuple):
    """One protein, encoded; its accession may hold any characters and need not be unique."""

    accession: str
    codes: Codes


@dataclass
class SourceCounts:
    """What was read.

    Attributes:
        proteins, residues: handed on.
        letters: what the alphabet met.
        reading: what the reader met.
    """

    proteins: int = 0
    residues: int = 0
    letters: ResidueCounts = field(default_factory=ResidueCounts)
    reading: ReadCounts = field(default_factory=ReadCounts)

    def warnings(self) -> Iterator[str]:
        """Everything that was replaced or left out."""
        if self.letters.lower_case:
            yield f"{self.letters.lower_case:,} lower-case residues read as upper case"
        if self.letters.unknown:
            yield f"{self.letters.unknown:,} characters outside the alphabet read as unknown"
        if self.letters.skipped:
            yield f"{self.letters.skipped:,} characters outside the alphabet left out"
        yield from self.reading.warnings()


def read_proteins(
    sources: Source | Sequence[Source],
    alphabet: Alphabet,
    policy: ResiduePolicy,
    counts: SourceCounts,
    *,
    longest: int | None = None,
) -> Iterator[Protein]:
    """The proteins of files, in their order.

    Args:
        sources: see `sources.expand`.
        alphabet: of the model.
        policy: of characters outside it.
        counts: where to add what was met; a protein of which the policy leaves nothing counts as
            an empty record.
        longest: the most residues that the model can read; None without a limit.

    Raises: UserError, naming file, line and accession; and at the end if there was no protein.
    """
    for block, _ in read_from(expand(sources), Place(), counts.reading):
        for index, record in enumerate(parse_records(block, counts.reading)):
            codes = _encode(record, alphabet, policy, counts, block, index)
            if not len(codes):
                counts.reading.note("empty", f"{record_place(block, index)} ({record.accession})")
                continue
            if longest is not None and len(codes) > longest:
                raise UserError(
                    f"{record_place(block, index)}: {record.accession} has {len(codes):,} residues,"
                    f" the model reads at most {longest:,}. Read its start only (truncate), or"
                    " overlapping windows of it (window)."
                )
            counts.proteins += 1
            counts.residues += len(codes)
            yield Protein(record.accession, codes)
    if not counts.proteins:
        raise UserError(f"{sources}: expected proteins, found none")


def can_be_read_twice(sources: Sequence[str]) -> bool:
    """Whether one may look through all of them before the work.

    Standard input is gone then, and an address would be fetched twice.
    """
    return not any(
        is_address(source) or (Path(source).exists() and not Path(source).is_file())
        for source in sources
    )


def in_chunks(proteins: Iterable[Protein]) -> Iterator[list[Protein]]:
    """Proteins in chunks of `CHUNK_RECORDS` or `CHUNK_RESIDUES`, whichever is reached first."""
    chunk: list[Protein] = []
    residues = 0
    for protein in proteins:
        chunk.append(protein)
        residues += len(protein.codes)
        if len(chunk) >= CHUNK_RECORDS or residues >= CHUNK_RESIDUES:
            yield chunk
            chunk, residues = [], 0
    if chunk:
        yield chunk


def _encode(
    record: Record,
    alphabet: Alphabet,
    policy: ResiduePolicy,
    counts: SourceCounts,
    block: TextBlock,
    index: int,
) -> Codes:
    try:
        return alphabet.encode(record.sequence, policy, counts=counts.letters)
    except UserError:  # once more, with the place, which takes a while to find
        where = f"{record_place(block, index)}: {record.accession}"
        return alphabet.encode(record.sequence, policy, where=where)
