"""Two ways to have batches of training: from shards on the disk, or as the sources are read."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from protein_performer.addresses import is_address, public_address
from protein_performer.data.batches.loader import Batching, Rank, ResumableLoader
from protein_performer.data.batches.row_rule import RowRule
from protein_performer.data.origins import Sources
from protein_performer.data.preparing.preprocessing import ProteinPreprocessing
from protein_performer.data.preparing.tokenizer import Tokenizer, digest_each
from protein_performer.data.reading.sources import expand, size
from protein_performer.data.shards import StoredSplit
from protein_performer.data.splits import SPLITS, TRAIN
from protein_performer.data.streaming.lane import Lane
from protein_performer.data.streaming.stream import MOST_LANES, Position, StreamedBatches
from protein_performer.data.streaming.stream_loader import StreamLoader
from protein_performer.errors import UserError

Mode = Literal["shards", "stream"]


class FromShards:
    """Batches of the prepared training set, all of it shuffled.

    Args:
        split: opens one by its name.
        batching: of training.
        num_workers: processes that make batches; 0 makes them here.
    """

    def __init__(
        self, split: Callable[[str], StoredSplit], batching: Batching, *, num_workers: int
    ) -> None:
        self._split = split
        self._batching = batching
        self._num_workers = num_workers
        self._start = (0, 0)  # (epoch, batch)
        self._loading: ResumableLoader | None = None

    def identity(self) -> dict[str, Any]:
        """What a position depends on, beside the prepared proteins and the batching."""
        return {}

    def begin(self) -> None:
        """Go to the first batch."""
        self._start = (0, 0)

    def resume(self, position: dict[str, Any]) -> None:
        """Go to a position."""
        self._start = (position["epoch"], position["batch"])

    def position(self, epoch_batches: float) -> dict[str, Any]:
        """The next batch, in plain types.

        Args:
            epoch_batches: of the trainer's epoch, which may be limited.
        """
        epoch, batch = self._start if self._loading is None else self._loading.sampler.position()
        if batch >= epoch_batches:
            epoch, batch = epoch + 1, 0
        return {"epoch": epoch, "batch": batch}

    def loader(self, rank: Rank) -> ResumableLoader:
        """The batches from the position on."""
        self._loading = self._batching.loader(
            self._split("train"), rank, num_workers=self._num_workers, start=self._start
        )
        return self._loading

    def end(self) -> None:
        """Training is over; the report of what was prepared has said it all."""


class FromStream:
    """Batches of the sources' text as it is read; only its head is prepared, for evaluation.

    Args:
        origin: the sources, of which the head is prepared.
        batching: of training.
        buffer: proteins that are shuffled together; see `lane.Lane`.
        num_workers: processes that make batches; 0 makes them here.
    """

    def __init__(
        self,
        origin: Sources,
        batching: Batching,
        *,
        buffer: int,
        num_workers: int,
    ) -> None:
        how = origin.preprocessing
        assert isinstance(how, ProteinPreprocessing)  # see `books.preprocessing_for`
        self._origin = origin
        self._batching = batching
        self._tokenizer = Tokenizer(how.alphabet, how.residue_policy, how.splits)
        self._buffer = buffer
        self._num_workers = num_workers
        self._start: Position | None = None
        self._loading: StreamLoader | None = None

    def identity(self) -> dict[str, Any]:
        """The sources by name and size, and how they are read.

        Their time of change is left out: a copy on another machine is as good.
        """
        return {"mode": "stream", "buffer": self._buffer, **self._sources}

    @cached_property
    def _sources(self) -> dict[str, Any]:
        names = expand(self._origin.names)
        known_by = [public_address(n) if is_address(n) else Path(n).name for n in names]
        return {
            "sources": [[known, size(name)] for known, name in zip(known_by, names, strict=True)],
            "head": self._origin.preprocessing.head,
            "residue_policy": self._tokenizer.policy,
        }

    def begin(self) -> None:
        """See `FromShards`."""
        self._start = None

    def resume(self, position: dict[str, Any]) -> None:
        """See `FromShards`."""
        if "lanes" not in position:
            raise UserError(
                "the checkpoint's place in a stream is of an earlier version, which parted the"
                " sources otherwise. Go on with that version, or begin anew."
            )
        self._start = Position.from_plain(position)

    def position(self, epoch_batches: float) -> dict[str, Any]:
        """See `FromShards`; a limited epoch ends where the next one goes on."""
        return (self._loading.position() if self._loading else self._first).plain()

    @property
    def _first(self) -> Position:
        return self._start or Position.begin(0, self._num_lanes)

    @property
    def _num_lanes(self) -> int:
        return min(len(expand(self._origin.names)), MOST_LANES)

    def loader(self, rank: Rank) -> StreamLoader:
        """See `FromShards`.

        Raises: UserError if the ranks could not share every batch.
        """
        rule, tokens = self._batching.row_rule, self._batching.batch_tokens
        assert rule.row_tokens is not None
        least = (tokens // rule.row_tokens + 1) // 2  # see `order.make_buckets`
        if least < rank.world_size:
            raise UserError(
                f"a batch of {tokens:,} tokens may hold no more than {least} rows of up to"
                f" {rule.row_tokens:,}, which {rank.world_size} ranks cannot share. Raise"
                " data.batch_tokens, lower data.max_length, or use fewer ranks."
            )
        self._tokenizer.rule.load()  # here, and not once in every worker
        names, held_out = expand(self._origin.names), self._held_out()
        count = self._num_lanes
        common = self._tokenizer, self._buffer, held_out, rule.cuts_to
        lanes = [Lane(number, names[number::count], *common) for number in range(count)]
        self._loading = StreamLoader(
            StreamedBatches(lanes, self._batching, rank),
            num_workers=self._num_workers,
            start=self._first,
            rank=rank,
        )
        return self._loading

    def _held_out(self) -> NDArray[np.uint64]:
        """Digests of the sequences that evaluation asks for."""
        splits = [self._origin.split(name) for name in SPLITS if name != SPLITS[TRAIN]]
        proteins = [residues for split in splits for residues in split]
        if not proteins:
            return np.zeros(0, np.uint64)
        lengths = np.array([len(residues) for residues in proteins])
        return np.unique(digest_each(np.concatenate(proteins), lengths)[:, 0])

    def end(self) -> None:
        """Log what was read of an epoch that was broken off."""
        if self._loading is not None:
            self._loading.log_counts()


TrainingData = FromShards | FromStream


def check_streamable(rule: RowRule, batch_tokens: int, buffer: int) -> None:
    """Refuse what one pass over the sources cannot give."""
    if buffer < 1:
        raise UserError(f"data.buffer: expected at least 1 protein, got {buffer}")
    if rule.context == "homologs":
        raise UserError(
            "data.mode=stream: context=homologs needs all members of a cluster side by side, and"
            " they lie all over the sources. Set data.mode=shards."
        )
    if rule.row_tokens is None:
        raise UserError(
            "data.max_length: data.mode=stream needs a number, since the longest protein is not"
            " known beforehand. With data.crop=all nothing is cut away."
        )
    if rule.row_tokens > batch_tokens:
        raise UserError(
            f"data.batch_tokens: expected at least {rule.row_tokens:,}, to hold a row of"
            f" data.max_length, got {batch_tokens:,}"
        )
