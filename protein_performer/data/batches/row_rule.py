"""Which kind of rows to make of a split, and for what length."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from protein_performer.data.batches.concat import ConcatRows, join, join_in_memory
from protein_performer.data.batches.homologs import HomologRows
from protein_performer.data.batches.in_memory import Buffer
from protein_performer.data.batches.layout import RowIndex, RowLayout
from protein_performer.data.batches.order import SPECIALS
from protein_performer.data.batches.proteins import Crop, ProteinRows, index_proteins
from protein_performer.data.shards import StoredSplit
from protein_performer.errors import UserError

Context = Literal["protein", "concat", "homologs"]

_BLOCK_BITS = 32  # a row of a buffer is known by the buffer's number << 32 + its block's


@dataclass(frozen=True)
class RowRule:
    """What a model sees at once.

    Attributes:
        context: `protein`, each alone (see `proteins`); `concat`, blocks of all proteins one after
            another (`concat`); `homologs`, those of a cluster one after another (`homologs`).
        max_length: of a `protein`, the residues that enter a row, None for all; else the tokens of
            a row, `<bos>` included.
        crop: what becomes of a longer `protein`; see `ProteinRows`. Elsewhere nothing is cut away
            and it is None.
        clusters: the table for `homologs`; see `clusters`.
    """

    context: Context = "protein"
    max_length: int | None = 1024
    crop: Crop | None = "window"
    clusters: str | None = None

    def __post_init__(self) -> None:
        if self.context not in get_args(Context):
            raise UserError(
                f"data.context: expected one of {get_args(Context)}, got {self.context!r}"
            )
        if self.context == "protein":
            least, crops = 1, get_args(Crop)
        else:
            least, crops = 2, (None,)
            if self.max_length is None:
                raise UserError(f"data.max_length: context={self.context} needs a length of rows")
        if self.max_length is not None and self.max_length < least:
            raise UserError(
                f"data.max_length: expected at least {least} or null, got {self.max_length}"
            )
        if self.crop not in crops:
            raise UserError(
                f"data.crop: expected one of {crops} with context={self.context}, got {self.crop!r}"
            )
        if (self.clusters is not None) != (self.context == "homologs"):
            raise UserError(
                f"data.clusters: context=homologs needs the table of clusters, and no other does;"
                f" got {self.clusters!r} with context={self.context}"
            )

    @property
    def cuts_to(self) -> int | None:
        """Residues of a protein that an epoch shows at most; None where all of it is shown."""
        return None if self.context != "protein" or self.crop == "all" else self.max_length

    @property
    def row_tokens(self) -> int | None:
        """The most tokens of a row; None where only the proteins tell."""
        if self.context != "protein" or self.max_length is None:
            return self.max_length
        return self.max_length + SPECIALS

    def rows(
        self, split: StoredSplit, *, seed: int, evaluating: bool
    ) -> tuple[RowLayout, RowIndex]:
        """The rows of a split that is not empty."""
        common: dict[str, Any] = {"seed": seed, "evaluating": evaluating}
        if self.context == "protein":
            assert self.crop is not None
            longest = self.max_length or len(split.length_counts())
            layout = ProteinRows(split, max_length=longest, crop=self.crop, **common)
            return layout, index_proteins(split, longest, self.crop)
        assert self.max_length is not None
        if self.context == "concat":
            joined = ConcatRows(split, join(split), max_length=self.max_length, **common)
            return joined, joined.index()
        assert self.clusters is not None
        homologs = HomologRows(split, Path(self.clusters), max_length=self.max_length, **common)
        return homologs, homologs.index()

    def buffer_rows(self, buffer: Buffer, *, seed: int, shuffle: int) -> tuple[RowLayout, RowIndex]:
        """The rows of training proteins in memory; none of homologs, whose relatives are elsewhere.

        Args:
            buffer: not empty.
            seed: see `ProteinRows` and `ConcatRows`.
            shuffle: seed of the order in which proteins are joined.
        """
        assert self.max_length is not None
        common: dict[str, Any] = {"max_length": self.max_length, "seed": seed, "evaluating": False}
        if self.context == "concat":
            mixed = buffer.shuffled(shuffle)
            joined = join_in_memory(mixed.lengths)
            rows = ConcatRows(mixed, joined, first=buffer.number << _BLOCK_BITS, **common)
            return rows, rows.index()
        assert self.crop is not None
        layout = ProteinRows(buffer, crop=self.crop, **common)
        return layout, index_proteins(buffer, self.max_length, self.crop)

    def prepare(self, split: StoredSplit) -> None:
        """Write what the rows of a split need beside its shards, once."""
        if self.context != "protein":
            self.rows(split, seed=0, evaluating=True)

    def identity(self) -> dict[str, Any]:
        """What a checkpoint's place in an epoch depends on."""
        identity: dict[str, Any] = {"max_length": self.max_length, "crop": self.crop}
        if self.context != "protein":
            identity["context"] = self.context
        if self.clusters is not None:
            identity["clusters"] = Path(self.clusters).name
        return identity
