"""The folder in which a preparation grows, and the journal by which it goes on after a break.

The journal says how far the files are whole: it is written after they are on the disk, and in one
step. Whoever opens the folder again compares the files with it, cuts them back to it and goes on
behind that place; so what comes out is the same, byte for byte, as without a break.
"""

import json
import logging
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from protein_performer.alphabet import ResidueCounts
from protein_performer.data.preparing.duplicates import DigestFile
from protein_performer.data.preparing.preprocessing import Preprocessing
from protein_performer.data.preparing.shard_writer import ShardWriter
from protein_performer.data.preparing.tokenizer import Tokenized
from protein_performer.data.reading.reader import Place
from protein_performer.data.reading.record import ReadCounts
from protein_performer.data.splits import SPLITS
from protein_performer.errors import UserError
from protein_performer.files import replacing

JOURNAL, DIGESTS = "journal.json", "digests"

log = logging.getLogger(__name__)


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
    def from_plain(cls, plain: dict[str, Any]) -> "Progress":
        """What `plain` gave."""
        return cls(
            Place(*plain["behind"]),
            ReadCounts(**plain["read"]),
            plain["emptied"],
            [ResidueCounts(**each) for each in plain["characters"]],
            np.array(plain["by_token"], dtype=np.int64),
        )

    def plain(self) -> dict[str, Any]:
        """Plain types, for the journal."""
        return {**asdict(self), "by_token": self.by_token.tolist()}

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
        folder: made if missing; gone on with if its journal is of the same `identity` and its files
            are whole, else begun anew.
        identity: what is prepared from what, in plain types.
        how: it is prepared.
        commit_seconds: how often the journal is written; a break costs no more work than that.
    """

    def __init__(
        self, folder: Path, identity: Any, how: Preprocessing, commit_seconds: float
    ) -> None:
        self.folder = folder
        self.identity = json.loads(json.dumps(identity))
        self.commit_seconds = commit_seconds
        self._committed = time.monotonic()
        self._shard_proteins = how.shard_proteins
        self.progress: Progress
        if self._go_on():
            log.info("going on behind %s records", f"{self.progress.read.records:,}")
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        characters = [ResidueCounts() for _ in SPLITS]
        by_token = np.zeros((len(SPLITS), len(how.alphabet)), dtype=np.int64)
        self.progress = Progress(Place(), ReadCounts(), 0, characters, by_token)
        self._open([None] * len(SPLITS), None)

    def _go_on(self) -> bool:
        """Whether there is something to go on with, which is open then."""
        if self.folder.is_symlink():  # somebody else's, and not to be written through
            self.folder.unlink()
        try:
            journal = json.loads((self.folder / JOURNAL).read_text())
            if journal["identity"] != self.identity:
                return False
            self.progress = Progress.from_plain(journal["progress"])
            self._open(journal["writers"], journal["digests"])
        except FileNotFoundError:
            return False
        except (UserError, ValueError, KeyError, TypeError) as error:
            log.warning("%s: begun anew, since it is damaged (%s)", self.folder, error)
            return False
        for leftover in self.folder.glob(".*.partial"):  # of a process that was killed
            leftover.unlink()
        return True

    def _open(self, writers: list[Any], digests: Any) -> None:
        self.writers: list[ShardWriter] = []
        try:
            for name, state in zip(SPLITS, writers, strict=True):
                self.writers.append(ShardWriter(self.folder / name, self._shard_proteins, state))
            self.digests = DigestFile(self.folder / DIGESTS, digests)
        except UserError:
            for writer in self.writers:
                writer.close()
            raise

    @property
    def sizes(self) -> list[int]:
        """Proteins of each split."""
        return [writer.proteins for writer in self.writers]

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
        journal = {
            "identity": self.identity,
            "progress": self.progress.plain(),
            "writers": [writer.state() for writer in self.writers],
            "digests": self.digests.state(),
        }
        with replacing(self.folder / JOURNAL) as partial:
            partial.write_text(json.dumps(journal))
        self._committed = time.monotonic()

    def close(self) -> None:
        """Let go of the files, as they are."""
        for writer in self.writers:
            writer.close()
        self.digests.close()


def remove_notes(folder: Path) -> None:
    """Remove what a finished folder does not need."""
    for name in (JOURNAL, DIGESTS):
        (folder / name).unlink(missing_ok=True)
