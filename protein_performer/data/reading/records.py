"""Sources of proteins -> records: the door of `data/` to files.

`read_records` is the plain way. Whoever needs all the speed takes the same path in two steps,
which may lie in two processes: `read_blocks` (inflate and cut) and `columns.parse_columns`.
"""

import logging
from collections.abc import Iterator, Sequence

from protein_performer.data.reading.blocks import TextBlock, cut_blocks
from protein_performer.data.reading.columns import Columns, parse_columns, parse_records
from protein_performer.data.reading.record import ReadCounts, Record
from protein_performer.data.reading.sources import Source, expand, inflated

__all__ = [
    "Columns",
    "ReadCounts",
    "Record",
    "TextBlock",
    "parse_columns",
    "read_blocks",
    "read_records",
]

log = logging.getLogger(__name__)


def read_records(
    sources: Source | Sequence[Source], *, counts: ReadCounts | None = None
) -> Iterator[Record]:
    """Records of files in the order of the sources and of each file.

    FASTA and Swiss-Prot/TrEMBL flat files, plain or gzip, told apart by their content. Memory is
    bounded by a block of text and the longest record, whatever the file's size.

    Args:
        sources: a file, a glob, or several; see `sources.expand`.
        counts: where to add what was met, complete when the iterator is at its end; the caller
            reports `counts.warnings()`. If none is given, warnings are logged at the end.

    Returns: an iterator; missing files are noticed before it is returned.
    Raises: UserError, naming file and line, for whatever cannot be read without guessing: no
        record is handed on from behind such a place. See `fasta.parse_fasta`,
        `flatfile.parse_flat`, `sources.inflated`.
    """
    met = ReadCounts() if counts is None else counts
    return _records(read_blocks(sources, counts=met), met, tell=counts is None)


def _records(blocks: Iterator[TextBlock], counts: ReadCounts, *, tell: bool) -> Iterator[Record]:
    for block in blocks:
        yield from parse_records(block, counts)
    if tell:
        for warning in counts.warnings():
            log.warning(warning)


def read_blocks(sources: Source | Sequence[Source], *, counts: ReadCounts) -> Iterator[TextBlock]:
    """Text of whole records, a block at a time, for `parse_columns` in this process or another.

    Args:
        sources: as of `read_records`.
        counts: where opened files and the bytes read are counted.

    Returns: an iterator; missing files are noticed before it is returned.
    """
    return _blocks(expand(sources), counts)


def _blocks(names: list[str], counts: ReadCounts) -> Iterator[TextBlock]:
    for name in names:
        yield from cut_blocks(inflated(name, counts), name)
