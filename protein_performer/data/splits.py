"""train, val, test or OOD: a pure function of the protein, whatever its order or the machine."""

import gzip
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from protein_performer.data.randomness import hash64, threshold
from protein_performer.data.reading.families import PAPER_OOD_FAMILIES, check_families
from protein_performer.errors import UserError

SPLITS = ("train", "val", "test", "ood")
TRAIN, VAL, TEST, OOD = range(4)
By = Literal["sequence", "accession", "cluster"]

_SHORT = 16  # letters of a name that is digested together with others
_DIGESTED_TOGETHER = 2**16
_NONE = np.zeros(0, np.uint64)


def digest64(text: str) -> int:
    """64 bits of BLAKE2b: the same on every machine, unlike Python's hash()."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def digest_names(names: Sequence[str]) -> NDArray[np.uint64]:
    """(N,) 64 bits of each name, a pure function of it; quick for UniProt's accessions."""
    if not all(map(str.isascii, names)):
        each = [digest_names([n]) if n.isascii() else [digest64(n)] for n in names]
        return np.concatenate(each).astype(np.uint64)
    words = np.array(names, dtype=f"S{_SHORT}").view("<u8").reshape(-1, 2)
    digests = hash64(words[:, 0], words[:, 1])
    lengths = np.fromiter(map(len, names), np.int64, len(names))
    for i in np.flatnonzero(lengths > _SHORT).tolist():
        digests[i] = digest64(names[i])
    return digests


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
        clusters: a table of two columns, cluster and accession, apart by a tab and without a
            header, perhaps gzipped: what `mmseqs easy-cluster` and `families.write_family_table`
            write. A protein that it does not name is not OOD.
        families: Pfam accessions of the families that are OOD, as flat files state them in their
            cross-references; "paper" for `families.PAPER_OOD_FAMILIES`. For FASTA, which states
            none, write a table with `protein-performer families` and give it as `clusters`.
        by: what is drawn by lot. `sequence`: equal sequences never part, relatives do.
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
            lot = hash64(self.seed, accessions if self.by == "accession" else sequences)
            split[lot < threshold(self.val + self.test)] = TEST
            split[lot < threshold(self.val)] = VAL
        if self.clusters is not None:
            names, theirs = self._listed
            place = np.minimum(np.searchsorted(names, accessions), len(names) - 1)
            listed = names[place] == accessions
            split[listed] = theirs[place[listed]]
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
            _ = self._listed

    @cached_property
    def _listed(self) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
        """Sorted digests of the accessions that the table sends elsewhere than to training (or,
        where clusters draw no lot, to OOD), and their splits: 9 bytes each, the rest is not kept.
        """
        assert self.clusters is not None
        digests: dict[int, list[NDArray[np.uint64]]] = {VAL: [], TEST: [], OOD: []}
        for split, accessions in self._elsewhere(read_clusters(self.clusters)):
            digests[split].append(digest_names(accessions))
        # Of a protein in several clusters, the highest split counts.
        names = np.concatenate([each for group in digests.values() for each in group] or [_NONE])
        splits = np.repeat(
            np.array(list(digests), dtype=np.uint8),
            [sum(map(len, group)) for group in digests.values()],
        )
        order = np.lexsort((splits, names))
        names, splits = names[order], splits[order]
        last = np.append(names[1:] != names[:-1], True)
        if not len(names) or (self.ood > 0 and not digests[OOD]):
            raise UserError(
                f"{self.clusters}: no cluster was held out at ood={self.ood}, val={self.val},"
                f" test={self.test}. Raise them, or give another seed."
            )
        return names[last], splits[last]

    def _elsewhere(self, rows: Iterator[tuple[str, str]]) -> Iterator[tuple[int, list[str]]]:
        """Accessions in clusters that are not in training, many at once."""
        waiting: dict[int, list[str]] = {VAL: [], TEST: [], OOD: []}
        before, split = None, TRAIN
        for cluster, accession in rows:
            if cluster != before:  # tables are grouped by cluster
                before, split = cluster, self._cluster_split(cluster)
            if split != TRAIN:
                waiting[split].append(accession)
                if len(waiting[split]) == _DIGESTED_TOGETHER:
                    yield split, waiting[split]
                    waiting[split] = []
        yield from ((split, names) for split, names in waiting.items() if names)

    def _cluster_split(self, cluster: str) -> int:
        digest = digest64(cluster)
        if hash64(self.seed, digest)[0] < threshold(self.ood):
            return OOD
        if self.by != "cluster":
            return TRAIN  # as far as the table goes
        lot = hash64(self.seed, digest, 1)[0]  # another lot than the one above
        if lot < threshold(self.val):
            return VAL
        return TEST if lot < threshold(self.val + self.test) else TRAIN


def read_clusters(path: str | Path) -> Iterator[tuple[str, str]]:
    """Rows (cluster, accession) of a table.

    Raises: UserError for a missing file, an empty one, and a row that has not two columns.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a table of cluster and accession")
    number = 0
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                columns = line.rstrip("\r\n").split("\t")
                if len(columns) != 2 or not all(columns):
                    raise UserError(
                        f"{path}:{number}: expected 'cluster<tab>accession', got {line[:60]!r}"
                    )
                yield columns[0], columns[1]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read after line {number} ({error})") from None
    if number == 0:
        raise UserError(f"{path}: expected a table of cluster and accession, got an empty file")
