"""Writes the shards of a split, whose layout `data/shards.py` describes; goes on after a break."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protein_performer.data.preparing.appended_file import AppendedFile
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
        for number, shard in enumerate(self.shards):
            for kind, digest in shard.sha256.items():
                path = shard_path(folder, number, kind)
                if not path.is_file() or file_sha256(path) != digest:
                    raise UserError(f"{path}: not what was written")
        self._open: _OpenShard | None = None
        if state["open"] is not None:
            self._open = _OpenShard(folder, len(self.shards), state["open"])
        written = {
            shard_path(folder, shard, kind)
            for shard in range(len(self.shards) + (self._open is not None))
            for kind in SHARD_FILES
        }
        for path in set(folder.iterdir()) - written:
            path.unlink()

    @property
    def proteins(self) -> int:
        """Written so far."""
        in_open = self._open.proteins if self._open is not None else 0
        return sum(shard.proteins for shard in self.shards) + in_open

    def write(self, names: bytes, lengths: NDArray[np.int64], tokens: NDArray[np.uint8]) -> None:
        """Append proteins.

        Args:
            names: their accessions, one a line.
            lengths: (N,) of each.
            tokens: (R,) their residues one after another.
        """
        while len(lengths):
            if self._open is None:
                self._open = _OpenShard(self.folder, len(self.shards))
            room = self.shard_proteins - self._open.proteins
            if room >= len(lengths):
                self._open.append(names, lengths, tokens)
                names, lengths, tokens = b"", lengths[:0], tokens[:0]
            else:
                lines, residues = names.splitlines(keepends=True), int(lengths[:room].sum())
                self._open.append(b"".join(lines[:room]), lengths[:room], tokens[:residues])
                names, lengths = b"".join(lines[room:]), lengths[room:]
                tokens = tokens[residues:]
            if self._open.proteins == self.shard_proteins:
                self.finish()

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
        self._files: dict[str, AppendedFile] = {}
        try:
            for kind in SHARD_FILES:
                path = shard_path(folder, shard, kind)
                self._files[kind] = AppendedFile(path, state and state["files"][kind])
            if state is None:
                self._files["offsets"].write(np.zeros(1, "<u8").tobytes())
        except (UserError, OSError):
            self.close()
            raise

    def append(self, names: bytes, lengths: NDArray[np.int64], tokens: NDArray[np.uint8]) -> None:
        ends = (self.residues + np.cumsum(lengths)).astype("<u8")
        self._files["tokens"].write(tokens.tobytes())
        self._files["offsets"].write(ends.tobytes())
        self._files["accessions"].write(names)
        self.proteins += len(lengths)
        self.residues += len(tokens)

    def state(self) -> dict[str, Any]:
        files = {kind: file.state() for kind, file in self._files.items()}
        return {"proteins": self.proteins, "residues": self.residues, "files": files}

    def finish(self) -> ShardMeta:
        digests = {kind: file["sha256"] for kind, file in self.state()["files"].items()}
        self.close()
        return ShardMeta(self.proteins, self.residues, digests)

    def close(self) -> None:
        for file in self._files.values():
            file.close()
