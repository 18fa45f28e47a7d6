"""Plain text in folders: a file is a record, and its folder is its split.

The layout is PG-19's (Rae et al. 2020, arXiv:1911.05507): FOLDER/train/*.txt,
FOLDER/validation/*.txt and FOLDER/test/*.txt, a book a file, in UTF-8. A book's accession is its
path in FOLDER, and that alone decides on its split. A book is held in memory while it is encoded.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protein_performer.alphabet import Alphabet, ResidueCounts, ResiduePolicy
from protein_performer.byte_alphabet import ByteAlphabet, alphabet_from
from protein_performer.data.clusters import digest_names
from protein_performer.data.manifest import FORMAT
from protein_performer.data.preparing.preprocessing import (
    Preprocessing,
    ProteinPreprocessing,
)
from protein_performer.data.preparing.tokenizer import Tokenized, digest_each, share_out
from protein_performer.data.reading.reader import Place, PlacedBlock
from protein_performer.data.reading.record import ReadCounts
from protein_performer.data.reading.text_blocks import TextBlock
from protein_performer.data.splits import (
    SPLITS,
    TEST,
    TRAIN,
    VAL,
    SplitRule,
)
from protein_performer.errors import UserError

SPLIT_OF_FOLDER = {"train": TRAIN, "validation": VAL, "test": TEST}
_SHARD_BOOKS = 1024

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BookPreprocessing(Preprocessing):
    """How books become tokens in splits; see `Preprocessing`.

    Attributes:
        residue_policy: for bytes that are not UTF-8.
        shard_proteins: books of a shard.
    """

    residue_policy: ResiduePolicy = "error"
    shard_proteins: int = _SHARD_BOOKS
    alphabet: ByteAlphabet = field(default_factory=ByteAlphabet, init=False)

    def definition(self) -> dict[str, Any]:
        """All but the files, in plain types."""
        return {
            "format": FORMAT,
            "alphabet": self.alphabet.plain(),
            "residue_policy": self.residue_policy,
            "shard_proteins": self.shard_proteins,
        }

    def expand(self, sources: Sequence[str]) -> list[str]:
        """The books of some folders, by split and name.

        Raises: UserError for a folder that is not there, is named twice, lacks one of the three,
            or has no .txt in one of these.
        """
        if len(set(map(os.path.abspath, sources))) != len(sources):
            raise UserError(f"{', '.join(sources)}: a folder is named twice; it would count double")
        return [book for folder in sources for book in _books_in(Path(folder))]

    def label(self, name: str) -> str:
        """The accession: if a book is moved to another split, that changes."""
        return accession(name)

    def home(self, names: Sequence[str]) -> Path:
        """The first folder."""
        return Path(names[0]).parent.parent

    def read_from(
        self, names: Sequence[str], start: Place, counts: ReadCounts
    ) -> Iterator[PlacedBlock]:
        """A block for each book; what else lies in the folders is logged, and not read."""
        _log_others(names)
        counts.files += start.source
        counts.bytes_read += start.stored
        for source in range(start.source, len(names)):
            text = _read(names[source])
            counts.files += 1
            counts.bytes_read += len(text)
            behind = Place(source + 1, 0, counts.bytes_read)
            yield PlacedBlock(TextBlock(text, "text", names[source], 1), behind)

    def tokenizer(self) -> "BookTokenizer":
        """Of whole books."""
        return BookTokenizer(self.alphabet, self.residue_policy)

    def check_sizes(self, sizes: Sequence[int]) -> None:
        """Raise UserError if no file has text in it."""
        if not any(sizes):
            raise UserError("expected at least one book with text in it, the sources have none")


class BookTokenizer:
    """The `BlockTokenizer` of books."""

    def __init__(self, alphabet: ByteAlphabet, policy: ResiduePolicy) -> None:
        self.alphabet = alphabet
        self.policy = policy

    def encode(self, blocks: Sequence[TextBlock]) -> Tokenized:
        """Whole books to tokens.

        Raises: UserError for a byte that is not UTF-8 under the policy `error`.
        """
        read, characters = ReadCounts(), [ResidueCounts() for _ in SPLITS]
        names: list[str] = []
        codes: list[NDArray[np.uint8]] = []
        for block in blocks:
            if not block.text:
                read.note("blank", block.where)
                continue
            names.append(accession(block.where))
            counts = characters[_split_of(names[-1])]
            codes.append(
                self.alphabet.encode(block.text, self.policy, counts=counts, where=block.where)
            )
            read.records += 1
            read.residues += len(block.text)
        lengths = np.array([len(each) for each in codes], dtype=np.int64)
        tokens = np.concatenate([np.zeros(0, np.uint8), *codes])
        digests = np.column_stack([digest_each(tokens, lengths), digest_names(names)])
        split = np.array([_split_of(name) for name in names], dtype=np.uint8)
        return share_out(
            names, lengths, tokens, digests, split, characters, read, len(self.alphabet)
        )


def _split_of(name: str) -> int:
    return SPLIT_OF_FOLDER[name.partition("/")[0]]


def accession(name: str) -> str:
    """`train/1.txt` of the path `.../train/1.txt`."""
    path = Path(name)
    return f"{path.parent.name}/{path.name}"


def _books_in(folder: Path) -> Iterator[str]:
    layout = f"expected a folder with {', '.join(SPLIT_OF_FOLDER)} in it, each with .txt files"
    if not folder.is_dir():
        raise UserError(f"{folder}: {layout}; there is no such folder (from {os.getcwd()})")
    for name in SPLIT_OF_FOLDER:
        if not (folder / name).is_dir():
            raise UserError(f"{folder}: {layout}; there is no {name}")
        books = sorted(str(path) for path in (folder / name).glob("*.txt") if path.is_file())
        if not books:
            raise UserError(f"{folder / name}: expected .txt files, found none")
        odd = [book for book in books if not Path(book).name.isprintable()]
        if odd:
            raise UserError(f"{odd[0]!r}: expected a name that can be printed; rename the file")
        yield from books


def _log_others(names: Sequence[str]) -> None:
    for folder in dict.fromkeys(Path(name).parent for name in names):
        others = [path.name for path in folder.iterdir() if path.suffix != ".txt"]
        if others:
            log.warning(
                "%s: %s file(s) are no .txt and not read, such as %s",
                *(folder, f"{len(others):,}", min(others)),
            )


def _read(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror or error})") from None


def preprocessing_for(
    alphabet: Alphabet,
    residue_policy: ResiduePolicy,
    splits: SplitRule | None,
    head: int | None = None,
) -> Preprocessing:
    """Of text for an alphabet of bytes, else of proteins.

    Raises: UserError where `splits` does not go with that: text has them from its folders.
    """
    if isinstance(alphabet, ByteAlphabet):
        if splits is not None:
            raise UserError(
                "data.splits: expected null with text, whose folders say what belongs where, got"
                f" {splits}"
            )
        if head is not None:
            raise UserError("data.mode=stream: books are not streamed. Set data.mode=shards.")
        return BookPreprocessing(residue_policy)
    if splits is None:
        raise UserError("data.splits: expected a rule that shares proteins out, got null")
    return ProteinPreprocessing(alphabet, residue_policy, splits, head=head)


def preprocessing_from(definition: dict[str, Any]) -> Preprocessing:
    """The settings of a `definition`, as a manifest has it."""
    if isinstance(alphabet_from(definition["alphabet"]), ByteAlphabet):
        return BookPreprocessing(definition["residue_policy"], definition["shard_proteins"])
    return ProteinPreprocessing.from_definition(definition)
