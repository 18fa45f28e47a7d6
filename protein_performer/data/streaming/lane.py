"""A lane of a stream: files read one after another, a buffer of neighbours in memory at a time.

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
from protein_performer.data.streaming.stream_counts import StreamCounts

_RESIDUES_EACH = 1024  # that a buffer has room for; three times the mean of UniProt
# A protein is known by its lane's number << 36 + its index there, a buffer in the same way.
_PROTEIN_BITS, _BUFFER_BITS = 36, 20


@dataclass(frozen=True)
class BufferStart:
    """Where a buffer begins: enough to read on from there.

    Attributes:
        number: of the buffer in its lane.
        first: index of its first protein.
        place: between two records in front of it; all before that need not be parsed again.
        skip: training proteins between the place and the buffer.
        counts: what was read in front of the place.
    """

    number: int = 0
    first: int = 0
    place: Place = field(default_factory=Place)
    skip: int = 0
    counts: StreamCounts = field(default_factory=StreamCounts)

    @classmethod
    def of_lane(cls, number: int) -> "BufferStart":
        """Where the first buffer of a lane begins."""
        return cls(first=number << _PROTEIN_BITS)

    def plain(self) -> dict[str, Any]:
        """Plain types, for a checkpoint."""
        return {**vars(self), "place": list(self.place), "counts": self.counts.plain()}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "BufferStart":
        """The inverse of `plain`."""
        place, counts = Place(*plain["place"]), StreamCounts.from_plain(plain["counts"])
        return cls(**{**plain, "place": place, "counts": counts})


class Filled(NamedTuple):
    """A buffer as it was read.

    Attributes:
        buffer: the proteins; None if the lane has none.
        start: where it begins.
        behind: where the next one begins; None if this is the last.
        counts: what was read so far: a little more than the buffer.
    """

    buffer: Buffer | None
    start: BufferStart
    behind: BufferStart | None
    counts: StreamCounts


@dataclass(frozen=True)
class Lane:
    """Reads, tokenizes and collects; plain and picklable.

    Attributes:
        number: among the lanes of the stream.
        names: its files, see `sources.expand`.
        tokenizer: what becomes of their text.
        size: N, the most proteins of a buffer; the last one may hold half as many again, so that
            it is never small beside the others. Where proteins are long, `size` * 1024 residues.
        held_out: sorted digests of sequences; an equal training protein is left out.
        cuts_to: residues of a protein that an epoch shows, for the counts; None for all.
    """

    number: int
    names: Sequence[str]
    tokenizer: Tokenizer
    size: int
    held_out: NDArray[np.uint64]
    cuts_to: int | None

    def read(self, start: BufferStart) -> Iterator[Filled]:
        """The buffers from one on to the end of the files.

        Raises: UserError of the sources and of the tokenizer.
        """
        read = ReadCounts()  # files and bytes, which nobody asks for here
        pool = _Pool(self.number, start, self.size)
        place, counts = start.place, start.counts
        for bundle in bundled(read_from(self.names, place, read), read):
            tokenized = self.tokenizer.encode(bundle.blocks)
            lengths, tokens = self._training(tokenized)
            pool.pieces.append(_Piece(place, counts, lengths, tokens))
            place, counts = bundle.behind, counts.plus(tokenized, lengths, self.cuts_to)
            while (end := pool.end_of_buffer()) is not None:
                yield pool.take(end, counts)
        rest = pool.proteins()  # none only where the lane has none at all
        yield pool.take(rest, counts) if rest else Filled(None, start, None, counts)

    def _training(self, tokenized: Tokenized) -> tuple[Ints, NDArray[np.uint8]]:
        """(N,) lengths and (R,) tokens of the training proteins."""
        part = tokenized.parts[TRAIN]
        digests = tokenized.digests[tokenized.split == TRAIN, 0]
        kept = np.isin(digests, self.held_out, invert=True)
        if kept.all():
            return part.lengths, part.tokens
        return part.lengths[kept], part.tokens[np.repeat(kept, part.lengths)]


class _Piece(NamedTuple):
    """Training proteins of a bundle, and what lies in front of it; see `BufferStart`."""

    place: Place
    counts: StreamCounts
    lengths: Ints
    tokens: NDArray[np.uint8]


class _Pool:
    """Proteins that were read and are in no buffer yet."""

    def __init__(self, lane: int, start: BufferStart, size: int) -> None:
        self.lane = lane
        self.start = start
        self.size = size
        self.pieces: deque[_Piece] = deque()
        self._taken = start.skip  # proteins of the first piece that are in a buffer

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

    def take(self, count: int, counts: StreamCounts) -> Filled:
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
        start, behind = self.start, None
        number = (self.lane << _BUFFER_BITS) + start.number
        buffer = Buffer(number, start.first, np.concatenate(lengths), np.concatenate(tokens))
        if self.pieces:
            place, before, *_ = self.pieces[0]
            first = start.first + count
            behind = self.start = BufferStart(start.number + 1, first, place, self._taken, before)
        return Filled(buffer, start, behind, counts)

    def _drop_taken(self) -> None:
        """Let go of pieces of which nothing is left."""
        while self.pieces and self._taken >= len(self.pieces[0].lengths):
            self._taken -= len(self.pieces.popleft().lengths)
