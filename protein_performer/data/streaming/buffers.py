"""The training proteins of sources, a buffer of neighbours after another: memory has a bound.

Buffers are cut by number and length of proteins alone, so a source gives the same ones whether it
is plain or compressed, on a disk or at an address, and whatever the blocks in which it arrives.

Shapes: N proteins, R residues in all.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protein_performer.data.batches.in_memory import Buffer
from protein_performer.data.batches.layout import Ints
from protein_performer.data.preparing.tokenizer import Tokenized, Tokenizer, bundled
from protein_performer.data.reading.reader import Place, read_from
from protein_performer.data.reading.record import ReadCounts
from protein_performer.data.splits import TRAIN
from protein_performer.data.streaming.tally import Tally

_RESIDUES_EACH = 1024  # that a buffer has room for; three times the mean of UniProt


@dataclass(frozen=True)
class Begin:
    """Where a buffer begins: enough to read on from there.

    Attributes:
        buffer: its number.
        first: index of its first protein.
        place: between two records in front of it; all before that need not be parsed again.
        skip: training proteins between the place and the buffer.
        read: what was read in front of the place.
    """

    buffer: int = 0
    first: int = 0
    place: Place = field(default_factory=Place)
    skip: int = 0
    read: Tally = field(default_factory=Tally)

    def plain(self) -> dict[str, Any]:
        """Plain types, for a checkpoint."""
        return {**vars(self), "place": list(self.place), "read": self.read.plain()}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Begin":
        """What `plain` told."""
        place, read = Place(*plain["place"]), Tally.from_plain(plain["read"])
        return cls(**{**plain, "place": place, "read": read})


class Filled(NamedTuple):
    """A buffer as it was read.

    Attributes:
        buffer: the proteins.
        begin: where it begins.
        behind: where the next one begins; None if this is the last.
        read: what was read so far: a little more than the buffer.
    """

    buffer: Buffer
    begin: Begin
    behind: Begin | None
    read: Tally


@dataclass(frozen=True)
class BufferReader:
    """Reads, encodes and collects; plain and picklable.

    Attributes:
        names: the sources, see `sources.expand`.
        tokenizer: what becomes of their text.
        size: N, the most proteins of a buffer; the last one may hold half as many again, so that
            it is never small beside the others. Where proteins are long, `size` * 1024 residues.
        held_out: sorted digests of sequences; an equal training protein is left out.
        cuts_to: residues of a protein that an epoch shows, for the tally; None for all.
    """

    names: Sequence[str]
    tokenizer: Tokenizer
    size: int
    held_out: NDArray[np.uint64]
    cuts_to: int | None

    def read(self, begin: Begin) -> Iterator[Filled]:
        """The buffers from one on to the sources' end.

        Raises: UserError of the sources and of the tokenizer.
        """
        counts = ReadCounts()  # files and bytes, which nobody asks for here
        pool = _Pool(begin, self.size)
        place, read = begin.place, begin.read
        for bundle in bundled(read_from(self.names, place, counts), counts):
            tokenized = self.tokenizer.encode(bundle.blocks)
            lengths, tokens = self._training(tokenized)
            pool.pieces.append(_Piece(place, read, lengths, tokens))
            place, read = bundle.behind, read.plus(tokenized, lengths, self.cuts_to)
            while (end := pool.end_of_buffer()) is not None:
                yield pool.take(end, read)
        if rest := pool.proteins():
            yield pool.take(rest, read)

    def _training(self, tokenized: Tokenized) -> tuple[Ints, NDArray[np.uint8]]:
        """(N,) lengths and (R,) tokens of the training proteins."""
        part = tokenized.parts[TRAIN]
        digests = tokenized.digests[tokenized.split == TRAIN, 0]
        kept = np.isin(digests, self.held_out, invert=True)
        if kept.all():
            return part.lengths, part.tokens
        return part.lengths[kept], part.tokens[np.repeat(kept, part.lengths)]


class _Piece(NamedTuple):
    """Training proteins of a bundle, and what lies in front of it; see `Begin`."""

    place: Place
    read: Tally
    lengths: Ints
    tokens: NDArray[np.uint8]


class _Pool:
    """Proteins that were read and are in no buffer yet."""

    def __init__(self, begin: Begin, size: int) -> None:
        self.begin = begin
        self.size = size
        self.pieces: deque[_Piece] = deque()
        self._taken = begin.skip  # proteins of the first piece that are in a buffer

    def proteins(self) -> int:
        """How many there are."""
        self._drop_taken()
        return max(sum(len(piece.lengths) for piece in self.pieces) - self._taken, 0)

    def end_of_buffer(self) -> int | None:
        """Proteins of the next buffer; None unless half a buffer is there behind it."""
        if self.proteins() == 0:
            return None
        lengths = np.concatenate([piece.lengths for piece in self.pieces])[self._taken :]
        ends, room = np.cumsum(lengths), self.size * _RESIDUES_EACH
        end = min(self.size, int(np.searchsorted(ends, room, side="right")))
        end = max(end, 1)  # also of one protein that is longer than all the room
        behind, residues = len(lengths) - end, int(ends[-1] - ends[end - 1])
        return end if 2 * behind >= self.size or 2 * residues >= room else None

    def take(self, count: int, read: Tally) -> Filled:
        """The next proteins as a buffer."""
        lengths, tokens, missing = [], [], count
        while missing:
            self._drop_taken()
            piece = self.pieces[0]
            end = min(self._taken + missing, len(piece.lengths))
            offsets = np.concatenate([[0], np.cumsum(piece.lengths)])
            lengths.append(piece.lengths[self._taken : end])
            tokens.append(piece.tokens[offsets[self._taken] : offsets[end]])
            missing -= end - self._taken
            self._taken = end
        self._drop_taken()
        begin, behind = self.begin, None
        buffer = Buffer(begin.buffer, begin.first, np.concatenate(lengths), np.concatenate(tokens))
        if self.pieces:
            place, before, *_ = self.pieces[0]
            number, first = begin.buffer + 1, begin.first + count
            behind = self.begin = Begin(number, first, place, self._taken, before)
        return Filled(buffer, begin, behind, read)

    def _drop_taken(self) -> None:
        """Let go of pieces of which nothing is left."""
        while self.pieces and self._taken >= len(self.pieces[0].lengths):
            self._taken -= len(self.pieces.popleft().lengths)
