"""Prepared proteins on disk: immutable shards of token codes, found by arithmetic.

A split is a folder of shards of R proteins each, so protein i is row i % R of shard i // R. Of each
shard there are three files: `NNNNN.tokens`, all residues one after another, a byte each;
`NNNNN.offsets`, R + 1 uint64, little-endian, where each protein begins; `NNNNN.accessions`, one a
line. `by_length.npy` lists the proteins that take part in order of length (exact duplicates stay
in their shard and out of that list), `length_counts.npy` how many there are of each length.
"""

import errno
import hashlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protein_performer.errors import UserError

SHARD_FILES = ("tokens", "offsets", "accessions")
BY_LENGTH, LENGTH_COUNTS = "by_length.npy", "length_counts.npy"
_OTHER_FILES = 512  # that a process may have open beside its maps


class ShardMeta(NamedTuple):
    """One shard, for the manifest."""

    proteins: int
    residues: int
    sha256: dict[str, str]  # kind of file -> digest


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


class ShardWriter:
    """Writes the proteins of one split, in order; memory does not grow with their number.

    Args:
        folder: made if missing.
        shard_proteins: R.
        state: what `state()` of an earlier writer told: this one goes on behind it, and removes
            what that one wrote later.
    """

    def __init__(
        self, folder: Path, shard_proteins: int, state: dict[str, Any] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.shard_proteins = shard_proteins
        state = state or {"shards": [], "open": None}
        self.shards = [ShardMeta(**shard) for shard in state["shards"]]
        self.proteins = sum(shard.proteins for shard in self.shards)
        self._open: _OpenShard | None = None
        if state["open"] is not None:
            self._open = _OpenShard(folder, len(self.shards), state["open"])
            self.proteins += self._open.proteins
        self._remove_later()

    def _remove_later(self) -> None:
        expected = {
            shard_path(self.folder, shard, kind)
            for shard in range(len(self.shards) + (self._open is not None))
            for kind in SHARD_FILES
        }
        for path in set(self.folder.iterdir()) - expected:
            path.unlink()

    def write(self, names: bytes, lengths: NDArray[np.int64], tokens: NDArray[np.uint8]) -> None:
        """Append proteins.

        Args:
            names: their accessions, one a line.
            lengths: (N,) of each.
            tokens: (R,) their residues one after another.
        """
        lines = names.splitlines(keepends=True) if len(lengths) > self._room else [names]
        begin, ends = 0, np.cumsum(lengths)
        while begin < len(lengths):
            end = min(len(lengths), begin + self._room)
            if self._open is None:
                self._open = _OpenShard(self.folder, len(self.shards))
            first = int(ends[begin - 1]) if begin else 0
            here = b"".join(lines[begin:end]) if len(lines) > 1 else names
            self._open.append(here, lengths[begin:end], tokens[first : int(ends[end - 1])])
            self.proteins += end - begin
            begin = end
            if self._open.proteins == self.shard_proteins:
                self.close()

    @property
    def _room(self) -> int:
        return self.shard_proteins - (self._open.proteins if self._open is not None else 0)

    def close(self) -> None:
        """Finish the shard that is being written, if any."""
        if self._open is not None:
            self.shards.append(self._open.close())
            self._open = None

    def abandon(self) -> None:
        """Let go of the files, as they are."""
        if self._open is not None:
            self._open.abandon()

    def state(self) -> dict[str, Any]:
        """How far this is, in plain types, once everything is on the disk."""
        return {
            "shards": [shard._asdict() for shard in self.shards],
            "open": None if self._open is None else self._open.state(),
        }


class _OpenShard:
    """A shard that is being written."""

    def __init__(self, folder: Path, shard: int, state: dict[str, Any] | None = None) -> None:
        self.proteins: int = state["proteins"] if state else 0
        self.residues: int = state["residues"] if state else 0
        self._digests = {kind: hashlib.sha256() for kind in SHARD_FILES}
        self._files: dict[str, BinaryIO] = {}
        for kind in SHARD_FILES:
            path = shard_path(folder, shard, kind)
            self._files[kind] = path.open("r+b" if state else "wb")
            if state:
                self._go_on(kind, state["bytes"][kind])
        if not state:
            self._put("offsets", np.zeros(1, "<u8").tobytes())

    def _go_on(self, kind: str, size: int) -> None:
        file, digest = self._files[kind], self._digests[kind]
        file.truncate(size)
        while piece := file.read(1 << 20):
            digest.update(piece)

    def append(self, names: bytes, lengths: NDArray[np.int64], tokens: NDArray[np.uint8]) -> None:
        self._put("tokens", tokens.tobytes())
        self._put("offsets", (self.residues + np.cumsum(lengths)).astype("<u8").tobytes())
        self._put("accessions", names)
        self.proteins += len(lengths)
        self.residues += len(tokens)

    def state(self) -> dict[str, Any]:
        self._sync()
        sizes = {kind: file.tell() for kind, file in self._files.items()}
        return {"proteins": self.proteins, "residues": self.residues, "bytes": sizes}

    def close(self) -> ShardMeta:
        self._sync()
        for file in self._files.values():
            file.close()
        digests = {kind: digest.hexdigest() for kind, digest in self._digests.items()}
        return ShardMeta(self.proteins, self.residues, digests)

    def abandon(self) -> None:
        for file in self._files.values():
            file.close()

    def _sync(self) -> None:
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())

    def _put(self, kind: str, content: bytes) -> None:
        self._files[kind].write(content)
        self._digests[kind].update(content)


class StoredSplit:
    """Reads the proteins of one split by their index; maps files, copies nothing.

    Args:
        folder: of the split.
        shard_proteins: R.
        shards: number of shards.
        proteins: that take part, duplicates left out.
    """

    def __init__(self, folder: Path, *, shard_proteins: int, shards: int, proteins: int) -> None:
        self.folder = folder
        self.shard_proteins = shard_proteins
        self.num_shards = shards
        self._proteins = proteins
        _allow_open_files(2 * shards)
        self._mapped: dict[int, tuple[NDArray[np.uint8], NDArray[np.uint64]]] = {}

    def __len__(self) -> int:
        """Proteins that take part."""
        return self._proteins

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
            tokens = _map(shard_path(self.folder, shard, "tokens"), np.uint8)
            offsets = _map(shard_path(self.folder, shard, "offsets"), "<u8")
            if len(tokens) != offsets[-1]:
                path = shard_path(self.folder, shard, "tokens")
                raise _damaged(path, f"expected {offsets[-1]:,} bytes, got {len(tokens):,}")
            self._mapped[shard] = tokens, offsets
        return self._mapped[shard]

    def lengths(self, shard: int) -> NDArray[np.int64]:
        """(R,) residues of each protein of a shard; not mapped: for going through all shards."""
        path = shard_path(self.folder, shard, "offsets")
        try:
            return np.diff(np.fromfile(path, dtype="<i8"))
        except OSError as error:
            raise _damaged(path, str(error)) from None

    def accessions(self, shard: int) -> list[str]:
        """The accessions of a shard, in order."""
        return shard_path(self.folder, shard, "accessions").read_text("utf-8").split("\n")[:-1]

    def accession(self, index: int) -> str:
        """The accession of a protein; reads the whole list of its shard."""
        shard, row = divmod(index, self.shard_proteins)
        return self.accessions(shard)[row]

    def by_length(self) -> NDArray[np.integer]:
        """(len(self),) indices of the proteins that take part, shortest first; mapped."""
        return np.asarray(np.load(self.folder / BY_LENGTH, mmap_mode="r" if len(self) else None))

    def length_counts(self) -> NDArray[np.int64]:
        """(longest + 1,) how many of the proteins that take part have each length."""
        return np.asarray(np.load(self.folder / LENGTH_COUNTS))

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """The residues of the proteins that take part, shortest first."""
        return (self.residues(int(index)) for index in self.by_length())


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
        if error.errno == errno.EMFILE:
            raise UserError(
                f"{path}: this process has as many files open as it may, and needs two for each"
                " shard. Raise the limit (`ulimit -n 8192`) and start again."
            ) from None
        raise _damaged(path, str(error)) from None
    except ValueError as error:
        raise _damaged(path, str(error)) from None


def _damaged(path: Path, how: str) -> UserError:
    folder = path.parent.parent
    return UserError(f"{path}: damaged ({how}). Remove {folder} and prepare again.")
