"""Blocks of text -> columns of many records at once: the fast way from FASTA to tokens.

Only FASTA blocks without any oddity are cut here, with a few operations on the whole block; any
other block goes record by record through `fasta` or `flatfile`, which decide whatever needs a
decision.

Shapes: N records, R residues in all.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from protein_performer.data.reading.fasta import parse_fasta, split_title
from protein_performer.data.reading.flatfile import parse_flat
from protein_performer.data.reading.record import ReadCounts, Record
from protein_performer.data.reading.text_blocks import TextBlock

_NEWLINE, _SPACE, _HEADER, _BAR = b"\n >|"
_IN_WORD = np.array([code not in b" |" for code in range(256)])
_UNIPROT_LENGTHS = (6, 10)  # of an accession
_ODD = b"\0\t\x0b\x0c\x1c\x1d\x1e\x1f"  # NUL, and ASCII white space but for space and line end


class Columns(NamedTuple):
    """Some hundred records.

    Attributes:
        accessions: N of them; see `Record`.
        residues: bytes of all sequences (R of them), joined without a separator.
        lengths: (N,) int64, residues of each record, each at least 1.
        families: for each record its Pfam accessions; None from FASTA, which states none.
    """

    accessions: list[str]
    residues: bytes
    lengths: NDArray[np.int64]
    families: list[tuple[str, ...]] | None = None


def parse_columns(block: TextBlock, counts: ReadCounts) -> Columns:
    """The records of a block, as columns.

    Args:
        block: of `text_blocks.cut_blocks`.
        counts: where records and oddities are counted.

    Raises: UserError, as `fasta.parse_fasta` and `flatfile.parse_flat`.
    """
    plain = _cut_plain(block, counts)
    if plain is None:
        return _columns(list(_parse_each(block, counts)), block.format)
    return Columns(_accessions(plain), plain.residues, plain.lengths)


def parse_records(block: TextBlock, counts: ReadCounts) -> Iterator[Record]:
    """The records of a block, one at a time; those before a fault are handed on."""
    plain = _cut_plain(block, counts)
    if plain is None:
        yield from _parse_each(block, counts)
        return
    sequences, begin = plain.residues.decode("ascii"), 0
    for title, length in zip(_titles(plain), plain.lengths.tolist(), strict=True):
        accession, description = split_title(title)
        yield Record(accession, description, sequences[begin : begin + length])
        begin += length


def record_place(block: TextBlock, index: int) -> str:
    """File and line of the record that is handed on as number `index` of a block, for errors."""
    found = 0
    for begin, end in pairwise([*block.record_begins(), len(block.text)]):
        record = block._replace(text=block.text[begin:end])
        found += sum(1 for _ in parse_records(record, ReadCounts()))
        if found > index:
            break
    return f"{block.where}, line {block.part(begin).first_line:,}"


def _parse_each(block: TextBlock, counts: ReadCounts) -> Iterator[Record]:
    parse = parse_flat if block.format == "flat" else parse_fasta
    return parse(block.text, block.where, counts, first_line=block.first_line)


def _columns(records: list[Record], format_: str) -> Columns:
    return Columns(
        [record.accession for record in records],
        "".join(record.sequence for record in records).encode("latin-1"),
        np.array([len(record.sequence) for record in records], dtype=np.int64),
        [record.families for record in records] if format_ == "flat" else None,
    )


class _Plain(NamedTuple):
    """A FASTA block without oddities, cut but for its titles."""

    text: bytes
    begins: NDArray[np.int64]  # (N,) where each header begins
    title_ends: NDArray[np.int64]  # (N,) the end of its line
    residues: bytes
    lengths: NDArray[np.int64]  # (N,)


def _cut_plain(block: TextBlock, counts: ReadCounts) -> _Plain | None:
    """The block, cut and counted; None if it has any oddity."""
    text = block.text
    if block.format != "fasta" or not text.isascii() or any(odd in text for odd in _ODD):
        return None
    letters = np.frombuffer(text, dtype=np.uint8)
    line_ends = np.flatnonzero(letters == _NEWLINE)
    line_starts = np.concatenate(([0], line_ends[:-1] + 1))
    headers = np.flatnonzero(letters[line_starts] == _HEADER)
    begins, title_ends = line_starts[headers], line_ends[headers]
    ends = np.append(begins[1:], len(text))
    lines = np.diff(np.append(headers, len(line_ends)))  # of each record, its header included
    lengths = ends - title_ends - lines
    after_mark = letters[begins + 1]
    if not lengths.all() or np.any((after_mark == _SPACE) | (after_mark == _NEWLINE)):
        return None  # a header without a sequence, or perhaps without an accession
    bodies = zip(title_ends.tolist(), ends.tolist(), strict=True)
    residues = b"".join([text[begin:end] for begin, end in bodies]).replace(b"\n", b"")
    if b" " in residues or b">" in residues:
        return None
    counts.records += len(lengths)
    counts.residues += len(residues)
    return _Plain(text, begins, title_ends, residues, lengths)


def _titles(plain: _Plain) -> list[str]:
    return _slices(plain.text, plain.begins + 1, plain.title_ends)


def _accessions(plain: _Plain) -> list[str]:
    """`ID` of the titles; where all begin `sp|ID|` or `tr|ID|`, without a look at the rest."""
    letters = np.frombuffer(plain.text, dtype=np.uint8)
    begins, lengths = plain.begins + len(">sp|"), np.zeros_like(plain.begins)
    for length in _UNIPROT_LENGTHS:
        bar = np.minimum(begins + length, len(letters) - 1)
        lengths[(letters[bar] == _BAR) & (bar < plain.title_ends)] = length
    is_database = _IN_WORD[letters[begins - 3]] & _IN_WORD[letters[begins - 2]]
    if np.all(is_database & (letters[begins - 1] == _BAR) & (lengths > 0)):
        accessions = _slices(plain.text, begins, begins + lengths)
        joined = "".join(accessions)
        if " " not in joined and "|" not in joined:
            return accessions
    return [split_title(title)[0] for title in _titles(plain)]


def _slices(text: bytes, begins: NDArray[np.int64], ends: NDArray[np.int64]) -> list[str]:
    string = text.decode("ascii")
    return [string[a:b] for a, b in zip(begins.tolist(), ends.tolist(), strict=True)]
