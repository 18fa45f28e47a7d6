"""The folder in which a preparation grows, and the journal by which it goes on after a break.

The journal says how far the files are whole: it is written after they are on the disk, and in one
step. Whoever opens the folder again cuts the files back to it and goes on behind that place; so
what comes out is the same, byte for byte, as without a break.
"""

import json
import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from protein_performer.alphabet import ResidueCounts
from protein_performer.data.preparing.duplicates import DigestFile
from protein_performer.data.preparing.shard_writer import ShardWriter
from protein_performer.data.preparing.tokenizer import Tokenized
from protein_performer.data.reading.reader import Place
from protein_performer.data.reading.record import ReadCounts
from protein_performer.data.splits import SPLITS

JOURNAL, DIGESTS = "journal.json", "digests"


@dataclass
class Progress:
    """How far a preparation has come.

    Attributes:
        behind: the place behind the last record written.
        read: what the parser counted, without files and bytes.
        emptied: records without a residue, left out.
        characters: for each split what the alphabet counted.
        by_token: for each split (V,) occurrences of each token, copies included.
    """

    behind: Place
    read: ReadCounts
    emptied: int
    characters: list[ResidueCounts]
    by_token: np.ndarray

    @classmethod
    def at_the_start(cls, vocabulary_size: int) -> "Progress":
        """Nothing yet."""
        characters = [ResidueCounts() for _ in SPLITS]
        counts = np.zeros((len(SPLITS), vocabulary_size), dtype=np.int64)
        return cls(Place(), ReadCounts(), 0, characters, counts)

    def plain(self) -> dict[str, Any]:
        """Plain types, for the journal."""
        return {**asdict(self), "by_token": self.by_token.tolist()}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Progress":
        """What `plain` told."""
        return cls(
            Place(*plain["behind"]),
            ReadCounts(**plain["read"]),
            plain["emptied"],
            [ResidueCounts(**each) for each in plain["characters"]],
            np.array(plain["by_token"], dtype=np.int64),
        )

    def add(self, tokenized: Tokenized, behind: Place) -> None:
        """Count one more bundle."""
        self.behind = behind
        self.read.add(tokenized.read)
        self.emptied += tokenized.emptied
        for split, part in enumerate(tokenized.parts):
            self.characters[split].add(part.characters)
            self.by_token[split] += part.by_token


class Work:
    """The files of a preparation, open for more.

    Args:
        folder: made if missing; gone on with if its journal tells of the same `identity`, else
            begun anew.
        identity: what is prepared from what, in plain types.
        vocabulary_size: V.
        shard_proteins: of each shard.
        commit_seconds: how often the journal is written; a break costs no more work than that.
    """

    def __init__(
        self,
        folder: Path,
        identity: Any,
        *,
        vocabulary_size: int,
        shard_proteins: int,
        commit_seconds: float,
    ) -> None:
        self.folder = folder
        self.identity = json.loads(json.dumps(identity))
        self.commit_seconds = commit_seconds
        self._committed = time.monotonic()
        journal = self._journal()
        self.goes_on = journal is not None
        if journal is None:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            self.progress = Progress.at_the_start(vocabulary_size)
            states: list[Any] = [None] * len(SPLITS)
        else:
            self.progress = Progress.from_plain(journal["progress"])
            states = journal["writers"]
        self.writers = [
            ShardWriter(folder / name, shard_proteins, state)
            for name, state in zip(SPLITS, states, strict=True)
        ]
        self.digests = DigestFile(folder / DIGESTS, sum(self.sizes))

    @property
    def sizes(self) -> list[int]:
        """Proteins of each split."""
        return [writer.proteins for writer in self.writers]

    def _journal(self) -> dict[str, Any] | None:
        try:
            journal: dict[str, Any] = json.loads((self.folder / JOURNAL).read_text())
        except FileNotFoundError:
            return None
        return journal if journal["identity"] == self.identity else None

    def add(self, tokenized: Tokenized, behind: Place) -> None:
        """Append a bundle's proteins."""
        index = np.empty(len(tokenized.split), dtype=np.int64)
        for number, (writer, part) in enumerate(zip(self.writers, tokenized.parts, strict=True)):
            here = tokenized.split == number
            index[here] = writer.proteins + np.arange(np.count_nonzero(here))
            writer.write(part.names, part.lengths, part.tokens)
        self.digests.add(tokenized.digests, tokenized.split, index)
        self.progress.add(tokenized, behind)
        if time.monotonic() - self._committed >= self.commit_seconds:
            self.commit()

    def commit(self) -> None:
        """Bring everything to the disk, then say so in the journal."""
        self.digests.sync()
        journal = {
            "identity": self.identity,
            "progress": self.progress.plain(),
            "writers": [writer.state() for writer in self.writers],
        }
        write_whole(self.folder / JOURNAL, journal)
        self._committed = time.monotonic()

    def close(self) -> None:
        """Let go of the files, as they are."""
        for writer in self.writers:
            writer.abandon()
        self.digests.close()

    def remove(self) -> None:
        """Throw everything away."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def write_whole(path: Path, content: Any) -> None:
    """Write a JSON file in one step, to the disk."""
    new = path.with_name(path.name + ".new")
    with new.open("w") as file:
        file.write(json.dumps(content, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
