"""What may stand in the rows of a batch: the contract between `row_rule`, order and collation.

A context is a way to make rows of a split: single proteins (`proteins`), blocks of all proteins
one after another (`concat`), or homologs one after another (`homologs`). Each has an index, which
knows how many rows there are of each length, and a layout, which writes the rows of a batch.

Shapes: B rows, L positions.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from protein_performer.alphabet import Alphabet
from protein_performer.batch import BOS, EOS, pad_rows
from protein_performer.data.batches.sampler import BatchKey
from protein_performer.data.objectives import Codes
from protein_performer.data.randomness import hash64

Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]


class RowIndex(NamedTuple):
    """The rows of an epoch, in order of length.

    Attributes:
        length_counts: (longest + 1,) how many rows have each length: tokens less the two special
            ones that `order.make_buckets` allows for.
        at: places in the length order, (B,), to what their rows are known by.
    """

    length_counts: Ints
    at: Callable[[Ints], Ints]


class RowLayout(Protocol):
    """Writes rows: a pure function of a `BatchKey`, so that any worker can do it."""

    evaluating: bool

    def __call__(self, key: BatchKey) -> tuple[Codes, Keys]:
        """(B, L) uint8 tokens: `<bos>`, content, `<pad>`; (B,) what random numbers follow from."""
        ...


class Proteins(Protocol):
    """Proteins as tokens, by index, on disk (`StoredSplit`) or in memory (`in_memory.Buffer`)."""

    def __len__(self) -> int:
        """Number of proteins."""
        ...

    def residues(self, index: int) -> Codes:
        """All residues of a protein, (L,) uint8."""
        ...


class SortedProteins(Proteins, Protocol):
    """Proteins that are also known by their length."""

    def by_length(self) -> NDArray[np.integer]:
        """(len(self),) indices, shortest first."""
        ...

    def length_counts(self) -> Ints:
        """(longest + 1,) how many have each length."""
        ...


class Piece(NamedTuple):
    """Tokens begin...end - 1 of a protein, of which `<eos>` is the last."""

    protein: int
    begin: int
    end: int


def lay_out_pieces(rows: list[list[Piece]], proteins: Proteins) -> Codes:
    """Rows of pieces one after another, `<bos>` before the first, `<eos>` behind true ends.

    Returns: (B, L) uint8.
    """
    laid_out: list[list[bytes | Codes]] = []
    for row in rows:
        parts: list[bytes | Codes] = [BOS]
        for protein, begin, end in row:
            residues = proteins.residues(protein)
            parts.append(residues[begin:end])
            if end > len(residues):
                parts.append(EOS)
        laid_out.append(parts)
    return pad_rows(laid_out)


def row_keys(seed: int, tokens: Codes) -> Keys:
    """`content_keys` of laid-out rows, whatever their padding."""
    used = (tokens != Alphabet.pad).sum(axis=1).tolist()
    return content_keys(seed, [row[:end] for row, end in zip(tokens, used, strict=True)])


def content_keys(seed: int, contents: list[Codes]) -> Keys:
    """Keys that follow from what is in the rows: the same in any file, batch and run."""
    digests = [blake2b(each.tobytes(), digest_size=8).digest() for each in contents]
    return hash64(seed, np.frombuffer(b"".join(digests), dtype="<u8"))
