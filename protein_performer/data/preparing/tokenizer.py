"""Blocks of text -> tokens of each split, thousands of records in one go, in any process.

Shapes: N records, R residues in all, V vocabulary.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from protein_performer.alphabet import Alphabet, ResidueCounts, ResiduePolicy
from protein_performer.data.clusters import digest_names
from protein_performer.data.reading.columns import Columns, parse_columns, record_place
from protein_performer.data.reading.reader import Place, PlacedBlock
from protein_performer.data.reading.record import ReadCounts
from protein_performer.data.reading.text_blocks import TextBlock
from protein_performer.data.splits import SPLITS, SplitRule

_BUNDLE = 1 << 20  # bytes of text encoded at once: each bundle costs some fifty calls of numpy
_PAIRS = 2**16  # counted at once: they stay in a core's cache, though 8 bytes each
_RARE, _OUTSIDE, _LOWER = 1, 2, 4  # kinds of odd characters


class Bundle(NamedTuple):
    """Some thousand records as text.

    Attributes:
        blocks: of any of the sources.
        behind: the place behind them.
        bytes_read: of the sources as stored, up to about there.
    """

    blocks: list[TextBlock]
    behind: Place
    bytes_read: int


class Part(NamedTuple):
    """The proteins of a bundle that belong to one split, in order.

    Attributes:
        names: accessions, one a line.
        lengths: (N,) int64.
        tokens: (R,) uint8, residues one after another.
        by_token: (V,) occurrences of each token.
        characters: what the alphabet counted.
    """

    names: bytes
    lengths: NDArray[np.int64]
    tokens: NDArray[np.uint8]
    by_token: NDArray[np.int64]
    characters: ResidueCounts


class Tokenized(NamedTuple):
    """An encoded bundle.

    Attributes:
        parts: in the order of `SPLITS`.
        digests: (N, 3) uint64, 128 bits of the sequence and 64 of the accession.
        split: (N,) uint8.
        read: what the parser counted.
        emptied: records that the residue policy `skip` left without a residue.
    """

    parts: list[Part]
    digests: NDArray[np.uint64]
    split: NDArray[np.uint8]
    read: ReadCounts
    emptied: int


def bundled(blocks: Iterable[PlacedBlock], counts: ReadCounts) -> Iterator[Bundle]:
    """The same blocks, many together.

    Args:
        blocks: as they are read.
        counts: of their reader, whose `bytes_read` is noted.
    """
    waiting: list[TextBlock] = []
    size, behind = 0, Place()
    for block, behind in blocks:
        waiting.append(block)
        size += len(block.text)
        if size >= _BUNDLE:
            yield Bundle(waiting, behind, counts.bytes_read)
            waiting, size = [], 0
    if waiting:
        yield Bundle(waiting, behind, counts.bytes_read)


def keep_freed_memory() -> None:
    """Have the C library keep what one bundle lets go of for the next, in this process.

    glibc hands freed memory back to the system where that is more than twice the largest block
    freed so far (mallopt(3): its thresholds are dynamic). Here that would be after every bundle,
    and to ask for it again a tenth of all the time. No page of this block is ever touched.
    """
    bytes(4 * _BUNDLE)


class BlockTokenizer(Protocol):
    """Parses, encodes, digests and shares out; plain and picklable."""

    def encode(self, blocks: Sequence[TextBlock]) -> Tokenized:
        """Whole records to tokens."""
        ...


class Tokenizer:
    """The `BlockTokenizer` of proteins."""

    def __init__(self, alphabet: Alphabet, policy: ResiduePolicy, rule: SplitRule) -> None:
        self.alphabet = alphabet
        self.policy = policy
        self.rule = rule
        self._kinds = _kinds_of_characters(alphabet)
        lower = np.flatnonzero(self._kinds & _LOWER)
        self._lowest_lower = int(lower[0]) if len(lower) else 255

    def encode(self, blocks: Sequence[TextBlock]) -> Tokenized:
        """Whole records to tokens.

        Raises: UserError for text that is not proteins, for a character outside the alphabet under
            the policy `error`, and as `SplitRule.assign`.
        """
        counts = ReadCounts()
        parsed = [parse_columns(block, counts) for block in blocks]
        records = _join(parsed)
        tokens, at, kinds = self._look_up(records.residues)
        ends = np.cumsum(records.lengths)
        record = np.searchsorted(ends, at, side="right")
        outside = (kinds & _OUTSIDE) > 0
        if self.policy == "error" and outside.any():
            self._refuse(blocks, parsed, int(record[outside][0]))
        if outside.any():
            tokens = self.alphabet.encode(records.residues, self.policy)
        lengths, accessions, families = records.lengths, records.accessions, records.families
        if self.policy == "skip" and outside.any():
            lengths = lengths - np.bincount(record[outside], minlength=len(lengths))
        names, sequences = digest_names(accessions), digest_each(tokens, lengths)
        split = self.rule.assign(names, sequences[:, 0], families)
        characters = [self._count(kinds[split[record] == number]) for number in range(len(SPLITS))]
        for number, each in enumerate(characters):
            each.residues = int(lengths[split == number].sum())
        digests = np.column_stack([sequences, names])
        return share_out(
            accessions, lengths, tokens, digests, split, characters, counts, len(self.alphabet)
        )

    def _look_up(
        self, residues: bytes
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8]]:
        """Codes, 255 if outside the alphabet; where odd characters stand, and of which kinds."""
        letters = np.frombuffer(residues, dtype=np.uint8)
        codes = np.frombuffer(residues.translate(self.alphabet.table), dtype=np.uint8)
        odd = codes >= self.alphabet.standard_codes.stop
        odd |= letters >= self._lowest_lower
        at = np.flatnonzero(odd)
        kinds = self._kinds[letters[at]]
        return codes, at[kinds > 0], kinds[kinds > 0]

    def _refuse(self, blocks: Sequence[TextBlock], parsed: list[Columns], record: int) -> None:
        """Let the alphabet name the first character of a record that is outside it."""
        last = np.cumsum([len(each.lengths) for each in parsed])
        number = int(np.searchsorted(last, record, side="right"))
        here = parsed[number]
        record -= int(last[number]) - len(here.lengths)
        begin = int(here.lengths[:record].sum())
        sequence = here.residues[begin : begin + int(here.lengths[record])]
        where = f"{record_place(blocks[number], record)}: record {here.accessions[record]}"
        self.alphabet.encode(sequence, where=where)

    def _count(self, kinds: NDArray[np.uint8]) -> ResidueCounts:
        outside = int(np.count_nonzero(kinds & _OUTSIDE))
        return ResidueCounts(
            lower_case=int(np.count_nonzero(kinds & _LOWER)),
            rare=int(np.count_nonzero(kinds & _RARE)),
            unknown=outside if self.policy == "unknown" else 0,
            skipped=outside if self.policy == "skip" else 0,
        )


def share_out(
    names: list[str],
    lengths: NDArray[np.int64],
    tokens: NDArray[np.uint8],
    digests: NDArray[np.uint64],
    split: NDArray[np.uint8],
    characters: Sequence[ResidueCounts],
    read: ReadCounts,
    vocabulary_size: int,
) -> Tokenized:
    """N encoded records to the parts of their splits; those without a residue are left out.

    Args:
        names, lengths, tokens, digests, split: of all of them, in order; see `Part`, `Tokenized`.
        characters: of each split.
        read: what the parser counted.
        vocabulary_size: V.
    """
    kept, parts = lengths > 0, []
    for number, counts in enumerate(characters):
        here = kept & (split == number)
        lines = "\n".join([*(names[i] for i in np.flatnonzero(here).tolist()), ""]).encode()
        part = copy_runs(tokens, lengths, here)
        parts.append(Part(lines, lengths[here], part, count_tokens(part, vocabulary_size), counts))
    return Tokenized(parts, digests[kept], split[kept], read, int(np.count_nonzero(~kept)))


def copy_runs(
    tokens: NDArray[np.uint8], lengths: NDArray[np.int64], here: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """The tokens of the sequences that are `here`, neighbours in one go."""
    edges = np.flatnonzero(np.diff(here, prepend=False, append=False))
    bounds = np.concatenate([[0], np.cumsum(lengths)])[edges].tolist()
    runs = zip(bounds[::2], bounds[1::2], strict=True)
    return np.concatenate([tokens[:0], *(tokens[begin:end] for begin, end in runs)])


def digest_each(tokens: NDArray[np.uint8], lengths: NDArray[np.int64]) -> NDArray[np.uint64]:
    """(N, 2) digests of N sequences that stand in `tokens` one after another."""
    content, ends = tokens.tobytes(), np.cumsum(lengths).tolist()
    digests = [
        blake2b(content[begin:end], digest_size=16).digest() for begin, end in pairwise([0, *ends])
    ]
    return np.frombuffer(b"".join(digests), dtype="<u8").reshape(-1, 2)


def count_tokens(tokens: NDArray[np.uint8], vocabulary_size: int) -> NDArray[np.int64]:
    """(V,) occurrences of each token, by pairs: half as many to count."""
    if tokens.size < 2**16:
        return np.bincount(tokens, minlength=vocabulary_size)
    bits = (vocabulary_size - 1).bit_length()
    low = 2**bits - 1
    table = np.zeros(4**bits, dtype=np.int64)
    pairs = tokens[: tokens.size // 2 * 2].view("<u2")
    for begin in range(0, len(pairs), _PAIRS):
        here = pairs[begin : begin + _PAIRS]
        packed = (here >> (8 - bits)) & (low << bits) | here & low
        table += np.bincount(packed, minlength=len(table))
    square = table.reshape(2**bits, 2**bits)
    counts: NDArray[np.int64] = (square.sum(0) + square.sum(1))[:vocabulary_size]
    counts[tokens[2 * len(pairs) :]] += 1
    return counts


def _join(blocks: list[Columns]) -> Columns:
    stated = [block.families for block in blocks]
    families: list[tuple[str, ...]] | None = []
    for each in stated:
        families = None if each is None or families is None else [*families, *each]
    return Columns(
        accessions=[name for block in blocks for name in block.accessions],
        residues=b"".join([block.residues for block in blocks]),
        lengths=np.concatenate([block.lengths for block in blocks]),
        families=families,
    )


def _kinds_of_characters(alphabet: Alphabet) -> NDArray[np.uint8]:
    """For each byte, which kinds of odd it is."""
    kinds = np.full(256, _OUTSIDE, dtype=np.uint8)
    for letter in alphabet.letters:
        kinds[ord(letter)] = _RARE if letter in alphabet.rare else 0
        lower = letter.lower()
        if alphabet.ignore_case and lower not in alphabet.letters:
            kinds[ord(lower)] = kinds[ord(letter)] | _LOWER
    return kinds
