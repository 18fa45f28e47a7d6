"""Writes the shards of a split, whose layout `data/shards.py` describes; goes on after a break."""

import hashlib
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from protein_performer.data.shards import SHARD_FILES, ShardMeta, file_sha256, shard_path
from protein_performer.errors import UserError


class ShardWriter:
    """Writes the proteins of one split, in order; memory does not grow with their number.

    Args:
        folder: made if missing.
        shard_proteins: R.
        state: what `state()` of an earlier writer gave: this one goes on behind it, and removes
            what that one wrote later.

    Raises: UserError if what the earlier one wrote is not there as it was written.
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
        self._check_finished()
        self._open: _OpenShard | None = None
        if state["open"] is not None:
            self._open = _OpenShard(folder, len(self.shards), state["open"])
            self.proteins += self._open.proteins
        self._remove_later()

    def _check_finished(self) -> None:
        for number, shard in enumerate(self.shards):
            for kind, digest in shard.sha256.items():
                path = shard_path(self.folder, number, kind)
                if not path.is_file() or file_sha256(path) != digest:
                    raise UserError(f"{path}: damaged (not what was written)")

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
                self.finish()

    @property
    def _room(self) -> int:
        return self.shard_proteins - (self._open.proteins if self._open is not None else 0)

    def finish(self) -> None:
        """Finish the shard that is being written, if any."""
        if self._open is not None:
            self.shards.append(self._open.finish())
            self._open = None

    def close(self) -> None:
        """Let go of the files, as they are."""
        if self._open is not None:
            self._open.close()

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
        paths = {kind: shard_path(folder, shard, kind) for kind in SHARD_FILES}
        self._files: dict[str, BinaryIO] = {
            kind: path.open("r+b" if state and path.exists() else "w+b")
            for kind, path in paths.items()
        }
        if state is None:
            self._put("offsets", np.zeros(1, "<u8").tobytes())
            return
        for kind, path in paths.items():
            self._files[kind].truncate(state["bytes"][kind])
            while piece := self._files[kind].read(1 << 20):
                self._digests[kind].update(piece)
            if self._digests[kind].hexdigest() != state["sha256"][kind]:
                self.close()
                raise UserError(f"{path}: damaged (not what was written)")

    def append(self, names: bytes, lengths: NDArray[np.int64], tokens: NDArray[np.uint8]) -> None:
        self._put("tokens", tokens.tobytes())
        self._put("offsets", (self.residues + np.cumsum(lengths)).astype("<u8").tobytes())
        self._put("accessions", names)
        self.proteins += len(lengths)
        self.residues += len(tokens)

    def state(self) -> dict[str, Any]:
        return {
            **self._finished()._asdict(),
            "bytes": {kind: file.tell() for kind, file in self._files.items()},
        }

    def finish(self) -> ShardMeta:
        meta = self._finished()
        self.close()
        return meta

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def _finished(self) -> ShardMeta:
        """What is on the disk, once it is."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        digests = {kind: digest.hexdigest() for kind, digest in self._digests.items()}
        return ShardMeta(self.proteins, self.residues, digests)

    def _put(self, kind: str, content: bytes) -> None:
        self._files[kind].write(content)
        self._digests[kind].update(content)
