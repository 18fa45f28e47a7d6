"""train, valid, test or OOD: a pure function of the protein, whatever its order or the machine."""

import gzip
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protein_performer.data.randomness import hash64, threshold
from protein_performer.errors import UserError

SPLITS = ("train", "valid", "test", "ood")
TRAIN, VALID, TEST, OOD = range(4)


def digest64(text: str) -> int:
    """64 bits of BLAKE2b: the same on every machine, unlike Python's hash()."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


@dataclass(frozen=True)
class SplitRule:
    """How proteins are shared out.

    The clusters whose hash falls below `ood` are held out whole: their proteins are the OOD split,
    so that none of its proteins has a relative in training. All others are shared out at random
    by their sequence, so equal sequences never part; relatives do.

    Attributes:
        valid, test: expected shares of the proteins that are not OOD.
        ood: expected share of the clusters; 1 for all that the table names.
        clusters: a table of two columns, cluster and accession, apart by a tab and without a
            header, perhaps gzipped: what `mmseqs easy-cluster` and `families.write_family_table`
            write. A protein that it does not name is not OOD.
        seed: another one gives other splits of the same sizes.
    """

    valid: float
    test: float
    ood: float = 0.0
    clusters: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("valid", "test", "ood"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(
                    f"splits.{name}: expected a share between 0 and 1, got {getattr(self, name)}"
                )
        if self.valid + self.test >= 1:
            raise UserError(
                f"splits: valid={self.valid} and test={self.test} leave nothing for training"
            )
        if (self.ood > 0) != (self.clusters is not None):
            raise UserError(
                f"splits: ood={self.ood} and clusters={self.clusters} do not go together: give the"
                " share of the clusters to hold out and the table that names them, or neither"
            )

    def assign(self, accessions: Sequence[str], sequences: NDArray[np.uint64]) -> NDArray[np.uint8]:
        """The splits of some proteins.

        Args:
            accessions: N of them.
            sequences: (N,) digests of their residues.

        Returns: (N,) indices in `SPLITS`.
        """
        lot = hash64(self.seed, sequences)
        split = np.full(len(accessions), TRAIN, dtype=np.uint8)
        split[lot < threshold(self.valid + self.test)] = TEST
        split[lot < threshold(self.valid)] = VALID
        if self.clusters is not None:
            names = np.fromiter(map(digest64, accessions), np.uint64, len(accessions))
            split[_contains(self._held_out, names)] = OOD
        return split

    @cached_property
    def _held_out(self) -> NDArray[np.uint64]:
        """Sorted digests of the accessions held out: 8 bytes each, the rest is not kept."""
        assert self.clusters is not None
        below = threshold(self.ood)
        held_out: dict[str, bool] = {}  # of the cluster before: tables are grouped by cluster
        digests = []
        for cluster, accession in read_clusters(self.clusters):
            if cluster not in held_out:
                lot = hash64(self.seed, digest64(cluster))[0]
                held_out = {cluster: bool(lot < below)}
            if held_out[cluster]:
                digests.append(digest64(accession))
        if not digests:
            raise UserError(
                f"{self.clusters}: no cluster was held out at ood={self.ood}. Raise it, or give"
                " another seed."
            )
        return np.unique(np.array(digests, dtype=np.uint64))


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


def _contains(among: NDArray[np.uint64], values: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which values occur in a sorted array."""
    place = np.minimum(np.searchsorted(among, values), len(among) - 1)
    return np.asarray(among[place] == values)
