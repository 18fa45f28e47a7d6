"""Prepared proteins on disk: immutable shards of token codes, found by arithmetic.

A split is a folder of shards of R proteins each, so protein i is row i % R of shard i // R. Of each
shard there are three files: `NNNNN.tokens`, all residues one after another, a byte each;
`NNNNN.offsets`, R + 1 uint64, little-endian, where each protein begins; `NNNNN.accessions`, one a
line. `by_length.npy` lists the proteins that take part in order of length (exact duplicates stay
in their shard and out of that list), `length_counts.npy` how many there are of each length.
"""

import errno
import hashlib
import resource
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protein_performer.errors import UserError

SHARD_FILES = ("tokens", "offsets", "accessions")
BY_LENGTH, LENGTH_COUNTS = "by_length.npy", "length_counts.npy"
_CHECKED: set[tuple[Path, str, int]] = set()  # files that this process has compared
_OTHER_FILES = 512  # that a process may have open beside its maps


class ShardMeta(NamedTuple):
    """One shard, for the manifest."""

    proteins: int
    residues: int
    sha256: dict[str, str]  # kind of file -> digest; where there is none, nothing is compared


def shard_path(folder: Path, shard: int, kind: str) -> Path:
    """The file of a shard: `kind` is one of `SHARD_FILES`."""
    return folder / f"{shard:05d}.{kind}"


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, hexadecimal; reads it once, in little memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


class SplitMeta(NamedTuple):
    """One split, as the manifest has it.

    Attributes:
        proteins: that take part, exact copies left out.
        shards: see there.
        index_sha256: name of `by_length.npy` and of `length_counts.npy` -> digest.
    """

    proteins: int
    shards: Sequence[ShardMeta]
    index_sha256: Mapping[str, str]


class StoredSplit:
    """Reads the proteins of one split by their index; maps files, copies nothing.

    A file is compared with its checksum when this process first opens it: at some 1.3 GB/s, 70 ms
    for a shard of 2^18 proteins, and once.

    Args:
        folder: of the split.
        meta: what its files must hold.
        shard_proteins: R.

    Raises: UserError, by all methods that read, for a file that is missing or damaged.
    """

    def __init__(self, folder: Path, meta: SplitMeta, shard_proteins: int) -> None:
        self.folder = folder
        self.meta = meta
        self.shard_proteins = shard_proteins
        _allow_open_files(2 * len(meta.shards))
        self._mapped: dict[int, tuple[NDArray[np.uint8], NDArray[np.uint64]]] = {}

    @property
    def num_shards(self) -> int:
        """Shards of the split."""
        return len(self.meta.shards)

    @property
    def stored(self) -> int:
        """Proteins in the shards, copies that do not take part included."""
        return sum(shard.proteins for shard in self.meta.shards)

    def __len__(self) -> int:
        """Proteins that take part."""
        return self.meta.proteins

    def __getstate__(self) -> dict[str, Any]:
        """For a worker process: it maps the files itself."""
        return {**self.__dict__, "_mapped": {}}

    def residues(self, index: int) -> NDArray[np.uint8]:
        """The (L,) residues of a protein, without special tokens; read-only."""
        shard, row = divmod(index, self.shard_proteins)
        tokens, offsets = self._mapped.get(shard) or self.shard(shard)
        return tokens[int(offsets[row]) : int(offsets[row + 1])]

    def shard(self, shard: int) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
        """Tokens and offsets of a shard."""
        if shard not in self._mapped:
            tokens = _map(self._whole(shard, "tokens"), np.uint8)
            self._mapped[shard] = tokens, _map(self._whole(shard, "offsets"), "<u8")
        return self._mapped[shard]

    def lengths(self, shard: int) -> NDArray[np.int64]:
        """(R,) residues of each protein of a shard; not mapped: for going through all shards."""
        return np.diff(np.fromfile(self._whole(shard, "offsets"), dtype="<i8"))

    def accessions(self, shard: int) -> list[str]:
        """The accessions of a shard, in order."""
        return self._whole(shard, "accessions").read_text("utf-8").split("\n")[:-1]

    def accession(self, index: int) -> str:
        """The accession of a protein; reads the whole list of its shard."""
        shard, row = divmod(index, self.shard_proteins)
        return self.accessions(shard)[row]

    def by_length(self) -> NDArray[np.integer]:
        """(len(self),) indices of the proteins that take part, shortest first; mapped."""
        return np.asarray(
            np.load(self._whole_index(BY_LENGTH), mmap_mode="r" if len(self) else None)
        )

    def length_counts(self) -> NDArray[np.int64]:
        """(longest + 1,) how many of the proteins that take part have each length."""
        return np.asarray(np.load(self._whole_index(LENGTH_COUNTS)))

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """The residues of the proteins that take part, shortest first."""
        return (self.residues(int(index)) for index in self.by_length())

    def check(self) -> None:
        """Compare every file with its checksum, whatever this process has compared before."""
        _CHECKED.clear()
        for shard in range(self.num_shards):
            for kind in SHARD_FILES:
                self._whole(shard, kind)
        for name in (BY_LENGTH, LENGTH_COUNTS):
            self._whole_index(name)

    def _whole(self, shard: int, kind: str) -> Path:
        path = shard_path(self.folder, shard, kind)
        return self.whole(path, self.meta.shards[shard].sha256.get(kind))

    def _whole_index(self, name: str) -> Path:
        return self.whole(self.folder / name, self.meta.index_sha256.get(name))

    def whole(self, path: Path, sha256: str | None) -> Path:
        """A file of the split, once it is known to be whole."""
        if sha256 is None:
            return path
        try:
            known = path, sha256, path.stat().st_mtime_ns
            if known not in _CHECKED and file_sha256(path) != sha256:
                raise _damaged(path, "its checksum is not the manifest's")
        except OSError as error:
            raise _unreadable(path, error) from None
        _CHECKED.add(known)
        return path


def _allow_open_files(maps: int) -> None:
    """Raise this process's limit of open files where it is too low for so many maps.

    A map keeps its file open. Of 200 million proteins there are 1,526; the usual limit is 1,024,
    and the one up to which a process may raise it far higher.
    """
    limit, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OTHER_FILES + 2 * maps  # a run may open a split twice
    if highest != resource.RLIM_INFINITY:
        wanted = min(wanted, highest)
    if limit != resource.RLIM_INFINITY and limit < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, highest))


def _map(path: Path, dtype: Any) -> NDArray[Any]:
    try:
        # A plain array over the map: slicing a np.memmap itself costs twice as much.
        return np.asarray(np.memmap(path, dtype=dtype, mode="r"))
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> UserError:
    if error.errno == errno.EMFILE:
        return UserError(
            f"{path}: this process has as many files open as it may, and needs two for each shard."
            " Raise the limit (`ulimit -n 8192`) and start again."
        )
    return _damaged(path, error.strerror or str(error))


def _damaged(path: Path, how: str) -> UserError:
    folder = path.parent.parent
    return UserError(f"{path}: damaged ({how}). Remove {folder} and prepare again.")
