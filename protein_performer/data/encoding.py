"""Blocks of records -> token codes, many records in one go."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from protein_performer.alphabet import Alphabet, ResidueCounts, ResiduePolicy
from protein_performer.data.records import Columns
from protein_performer.errors import UserError

_TOGETHER = 4096  # records encoded at once, at least


def in_larger_blocks(blocks: Iterable[Columns]) -> Iterator[Columns]:
    """The same records in larger blocks: each costs some fifty calls of numpy."""
    waiting: list[Columns] = []
    for block in blocks:
        waiting.append(block)
        if sum(len(each.accessions) for each in waiting) >= _TOGETHER:
            yield _join(waiting)
            waiting = []
    if waiting:
        yield _join(waiting)


def _join(blocks: list[Columns]) -> Columns:
    return Columns(
        accessions=[name for block in blocks for name in block.accessions],
        residues=b"".join(block.residues for block in blocks),
        lengths=np.concatenate([block.lengths for block in blocks]),
    )


class Encoder:
    """Encodes many records in one go, and one at a time only where a character is odd."""

    def __init__(self, alphabet: Alphabet, policy: ResiduePolicy) -> None:
        self.alphabet = alphabet
        self.policy = policy
        self.counts = ResidueCounts()
        self.emptied = 0  # records that the policy `skip` left without a residue

    def encode(self, records: Columns) -> tuple[list[str], NDArray[np.int64], NDArray[np.uint8]]:
        """Accessions, (N,) lengths, and the tokens of all one after another."""
        counts = ResidueCounts()
        try:
            tokens = self.alphabet.encode(records.residues, self.policy, counts=counts)
        except UserError:
            counts.skipped = 1  # let the record's own encoding name it
        if counts.skipped:
            return self._encode_each(records)
        self.counts.add(counts)
        return records.accessions, records.lengths, tokens

    def _encode_each(
        self, records: Columns
    ) -> tuple[list[str], NDArray[np.int64], NDArray[np.uint8]]:
        accessions, parts, begin = [], [], 0
        for accession, length in zip(records.accessions, records.lengths.tolist(), strict=True):
            part = self.alphabet.encode(
                records.residues[begin : begin + length],
                self.policy,
                counts=self.counts,
                where=f"record {accession}",
            )
            begin += length
            if part.size == 0:
                self.emptied += 1
                continue
            accessions.append(accession)
            parts.append(part)
        lengths = np.array([part.size for part in parts], dtype=np.int64)
        return accessions, lengths, np.concatenate([*parts, np.zeros(0, np.uint8)])
