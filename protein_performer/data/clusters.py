"""Tables of clusters: which proteins are relatives, known by digests of their accessions.

A table has two columns, cluster and accession, apart by a tab and without a header, perhaps
gzipped, with the rows of a cluster together: what `mmseqs easy-cluster` and
`pfam.write_family_table` write.
"""

import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from protein_performer.data.randomness import hash64
from protein_performer.errors import UserError

_SHORT = 16  # letters of a name that is digested together with others
_LONGEST_LINE = 2**16  # characters
_TOGETHER = 2**16  # rows digested at once


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


class ClusterTable(NamedTuple):
    """A number for each accession that a table names, such as its split or its cluster's number.

    Attributes:
        digests: (N,) uint64 of the accessions, sorted, each once.
        numbers: (N,) int64, at least 0.
    """

    digests: NDArray[np.uint64]
    numbers: NDArray[np.int64]

    @classmethod
    def read(cls, path: str | Path, number_of: Callable[[str], int]) -> "ClusterTable":
        """Read a table; memory is 16 bytes for each accession that is kept.

        Args:
            path: of the table.
            number_of: a cluster's name to its number; called once for each run of its rows. A
                negative number leaves it out. Of an accession with several, the highest counts.

        Raises: UserError, as `read_clusters`.
        """
        digests, numbers = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        before, number = None, -1
        for clusters, accessions in read_digests(path):
            here = np.empty(len(clusters), dtype=np.int64)
            for row, cluster in enumerate(clusters):
                if cluster != before:
                    before, number = cluster, number_of(cluster)
                here[row] = number
            digests.append(accessions[here >= 0])
            numbers.append(here[here >= 0])
        names, found = np.concatenate(digests), np.concatenate(numbers)
        order = np.lexsort((found, names))
        names, found = names[order], found[order]
        last = np.append(names[1:] != names[:-1], True)[: len(names)]
        return cls(names[last], found[last])

    def find(self, accessions: NDArray[np.uint64]) -> NDArray[np.int64]:
        """(N,) numbers of accessions by their digests, -1 for those that the table leaves out."""
        if not len(self.digests):
            return np.full(len(accessions), -1, dtype=np.int64)
        place = np.minimum(np.searchsorted(self.digests, accessions), len(self.digests) - 1)
        return np.where(self.digests[place] == accessions, self.numbers[place], -1)


def read_digests(path: str | Path) -> Iterator[tuple[list[str], NDArray[np.uint64]]]:
    """The rows of a table, many at a time: their clusters, and digests of their accessions."""
    rows = read_clusters(path)
    while piece := list(islice(rows, _TOGETHER)):
        clusters, accessions = zip(*piece, strict=True)
        yield list(clusters), digest_names(accessions)


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
            longest = iter(lambda: lines.readline(_LONGEST_LINE), "")
            for number, line in enumerate(longest, start=1):
                columns = line.rstrip("\r\n").split("\t")
                if len(columns) != 2 or not all(columns) or len(line) == _LONGEST_LINE:
                    raise UserError(
                        f"{path}:{number}: expected 'cluster<tab>accession', got {line[:60]!r}"
                    )
                yield columns[0], columns[1]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read after line {number} ({error})") from None
    if number == 0:
        raise UserError(f"{path}: expected a table of cluster and accession, got an empty file")
