"""Sources of proteins -> blocks of text or records, from any place on.

`read_records` is the plain way. Whoever needs all the speed takes the same path in two steps,
which may lie in two processes: `read_from` (inflate and cut) and `columns.parse_columns`.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from protein_performer.addresses import public_address
from protein_performer.data.reading.columns import parse_records
from protein_performer.data.reading.record import ReadCounts, Record
from protein_performer.data.reading.sources import Source, expand, inflated
from protein_performer.data.reading.text_blocks import TextBlock, cut_blocks

log = logging.getLogger(__name__)


class Place(NamedTuple):
    """A place between two records.

    Attributes:
        source: index of the source that is being read.
        text: bytes of its text in front of the place, from the first record on.
        stored: bytes of the sources before it, as they are stored.
    """

    source: int = 0
    text: int = 0
    stored: int = 0


class PlacedBlock(NamedTuple):
    """A block of text, and the place behind it."""

    block: TextBlock
    behind: Place


def read_records(
    sources: Source | Sequence[Source], *, counts: ReadCounts | None = None
) -> Iterator[Record]:
    """Records of files in the order of the sources and of each file.

    FASTA and Swiss-Prot/TrEMBL flat files, plain or gzip, distinguished by their content. Memory is
    bounded by a block of text and the longest record, whatever the file's size.

    Args:
        sources: a file, a glob, or several; see `sources.expand`.
        counts: where to add records and oddities, complete when the iterator is at its end; the
            caller reports `counts.warnings()`. If none is given, they are logged at the end.

    Returns: an iterator; missing files are noticed before it is returned.
    Raises: UserError, naming file and line, for whatever cannot be read without guessing: no
        record is handed on from behind such a place. See `text_blocks.cut_blocks`,
        `fasta.parse_fasta`, `flatfile.parse_flat`, `sources.inflated`.
    """
    return _records(expand(sources), counts)


def _records(names: list[str], counts: ReadCounts | None) -> Iterator[Record]:
    read = ReadCounts() if counts is None else counts
    for block, _ in read_from(names, Place(), read):
        yield from parse_records(block, read)
    if counts is None:
        for warning in read.warnings():
            log.warning(warning)


def read_from(names: Sequence[str], start: Place, counts: ReadCounts) -> Iterator[PlacedBlock]:
    """Blocks of the sources' text from a place on, for `parse_columns` in any process.

    Sources before the place are not opened. Of its own source the text in front of it is inflated
    and thrown away, since gzip cannot be entered midway: that is some five times as fast as
    preparing it.

    Args:
        names: the sources, see `sources.expand`.
        start: `Place()` for the beginning.
        counts: where opened files and bytes read are counted, as if all had been read.
    """
    counts.files += start.source
    counts.bytes_read += start.stored
    place = start
    for source in range(start.source, len(names)):
        skipped = place.text
        place = Place(source, 0, counts.bytes_read)
        name = names[source]
        for block in cut_blocks(inflated(name, counts), public_address(name)):
            place = place._replace(text=place.text + len(block.text))
            if place.text > skipped:
                cut = skipped - place.text + len(block.text)
                yield PlacedBlock(block.part(max(0, cut)), place)
        place = Place(source + 1)


def first_records(blocks: Iterable[PlacedBlock], count: int) -> Iterator[PlacedBlock]:
    """The text of the first `count` records, those included that will be left out as empty."""
    if count < 1:
        return
    for block, behind in blocks:
        begins = block.record_begins()
        if len(begins) > count:
            cut = begins[count]
            place = behind._replace(text=behind.text - len(block.text) + cut)
            yield PlacedBlock(block.part(0, cut), place)
            return
        yield PlacedBlock(block, behind)
        count -= len(begins)
        if count == 0:  # before another block is read
            return
