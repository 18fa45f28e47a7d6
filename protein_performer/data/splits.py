"""train, val, test or OOD: a pure function of the protein, whatever its order or the machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from protein_performer.data.clusters import ClusterTable, digest64
from protein_performer.data.randomness import hash64, threshold
from protein_performer.data.reading.pfam import PAPER_OOD_FAMILIES, check_families
from protein_performer.errors import UserError

SPLITS = ("train", "val", "test", "ood")
TRAIN, VAL, TEST, OOD = range(4)
By = Literal["sequence", "accession", "cluster"]


@dataclass(frozen=True)
class SplitRule:
    """How proteins are shared out.

    OOD, held out from everything else: whole clusters, or whole Pfam families that the source
    states, so that OOD proteins have no such relative in training. All others are shared out at
    random by what `by` names. The paper (Choromanski et al. 2021, arXiv:2009.14794, appendix C.1)
    holds out `families="paper"` and shares out the rest by record.

    Attributes:
        val, test: expected shares of the proteins (by cluster: of the clusters) that are not OOD.
        ood: expected share of the clusters; 1 for all that the table names.
        clusters: a table of them; see `clusters`. A protein that it does not name is not OOD.
        families: Pfam accessions of the families that are OOD, as flat files state them in their
            cross-references; "paper" for `pfam.PAPER_OOD_FAMILIES`. For FASTA, which states
            none, write a table with `protein-performer families` and give it as `clusters`.
        by: what decides on the rest. `sequence`: equal sequences never part, relatives do.
            `accession`: copies with other accessions may part, until duplicates are removed.
            `cluster`: whole clusters, so that val and test have no relative in training either;
            proteins that the table does not name go to training.
        seed: another one gives other splits of the same sizes.
    """

    val: float
    test: float
    ood: float = 0.0
    clusters: str | None = None
    families: Sequence[str] | str = ()
    by: By = "sequence"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("val", "test", "ood"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(
                    f"splits.{name}: expected a share between 0 and 1, got {getattr(self, name)}"
                )
        if self.val + self.test >= 1:
            raise UserError(
                f"splits: val={self.val} and test={self.test} leave nothing for training"
            )
        if self.by not in get_args(By):
            raise UserError(f"splits.by: expected one of {get_args(By)}, got {self.by!r}")
        if (self.ood > 0 or self.by == "cluster") != (self.clusters is not None):
            raise UserError(
                f"splits: ood={self.ood}, by={self.by} and clusters={self.clusters} do not go"
                " together: give the table of clusters with the share of them to hold out or with"
                " by=cluster, or neither"
            )
        if isinstance(self.families, str) and self.families != "paper":
            raise UserError(
                f"splits.families: expected Pfam accessions or 'paper', got {self.families!r}"
            )
        named = PAPER_OOD_FAMILIES if self.families == "paper" else tuple(self.families)
        check_families(named)
        object.__setattr__(self, "families", named)

    @property
    def holds_out(self) -> bool:
        """Whether there is an OOD split."""
        return self.ood > 0 or bool(self.families)

    def assign(
        self,
        accessions: NDArray[np.uint64],
        sequences: NDArray[np.uint64],
        families: Sequence[tuple[str, ...]] | None = None,
    ) -> NDArray[np.uint8]:
        """The splits of some proteins.

        Args:
            accessions: (N,) `digest_names` of theirs.
            sequences: (N,) digests of their residues.
            families: for each the Pfam accessions that its source states; None if it states none.

        Returns: (N,) indices in `SPLITS`.
        Raises: UserError if `families` are needed and not there.
        """
        split = np.full(len(accessions), TRAIN, dtype=np.uint8)
        if self.by != "cluster":
            bits = hash64(self.seed, accessions if self.by == "accession" else sequences)
            split[bits < threshold(self.val + self.test)] = TEST
            split[bits < threshold(self.val)] = VAL
        if self.clusters is not None:
            found = self._table.find(accessions)
            split[found >= 0] = found[found >= 0]
        if self.families:
            if families is None:
                raise UserError(
                    "splits.families: FASTA states no Pfam families. Give flat files (.dat.gz), or"
                    " write a table with `protein-performer families` and give it as"
                    " splits.clusters, with ood=1."
                )
            held_out = frozenset(self.families)
            split[[not held_out.isdisjoint(stated) for stated in families]] = OOD
        return split

    def check_sizes(self, sizes: Sequence[int], hint: str = "") -> None:
        """Raise UserError if proteins were to be held out and none was.

        Args:
            sizes: number of proteins of each of `SPLITS`.
            hint: told at the end of the error.
        """
        if self.ood > 0 and not sizes[OOD]:
            raise UserError(
                f"{self.clusters}: none of the accessions of its held-out clusters is among the"
                " sources' (`db|ACCESSION|name` or the header's first word). Is it their table?"
                + hint
            )
        if self.families and not sizes[OOD]:
            raise UserError(
                f"splits.families: no protein of the sources is of {', '.join(self.families)}."
                + hint
            )

    def load(self) -> None:
        """Read the table of clusters, if there is one; else that is done when it is needed."""
        if self.clusters is not None:
            _ = self._table

    @cached_property
    def _table(self) -> ClusterTable:
        """The splits of the accessions that the table sends elsewhere than to training (or, where
        clusters do not decide on the rest, to OOD).
        """
        assert self.clusters is not None
        table = ClusterTable.read(self.clusters, self._cluster_split)
        if not len(table.numbers) or (self.ood > 0 and table.numbers.max() < OOD):
            raise UserError(
                f"{self.clusters}: no cluster was held out at ood={self.ood}, val={self.val},"
                f" test={self.test}. Raise them, or give another seed."
            )
        return table

    def _cluster_split(self, cluster: str) -> int:
        """-1 for a cluster that the table does not send elsewhere."""
        digest = digest64(cluster)
        if hash64(self.seed, digest)[0] < threshold(self.ood):
            return OOD
        if self.by != "cluster":
            return -1
        bits = hash64(self.seed, digest, 1)[0]  # others than those above
        if bits < threshold(self.val):
            return VAL
        return TEST if bits < threshold(self.val + self.test) else -1
