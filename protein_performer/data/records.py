"""Sources of proteins -> records, one at a time: the door of `data/` to files."""

import logging
from collections.abc import Iterator, Sequence

from protein_performer.data.fasta import parse_fasta
from protein_performer.data.record import ReadCounts, Record
from protein_performer.data.sources import Source, as_lines, as_text, expand, inflated

__all__ = ["ReadCounts", "Record", "read_records"]

log = logging.getLogger(__name__)


def read_records(
    sources: Source | Sequence[Source], *, counts: ReadCounts | None = None
) -> Iterator[Record]:
    """Records of FASTA or FASTA.gz files, in the order of the sources and of each file.

    Memory is bounded by a block of text and the longest record, whatever the file's size.

    Args:
        sources: a file, a glob, or several; see `sources.expand`.
        counts: where to add what was met, up to date whenever the iterator is at its end; the
            caller reports `counts.warnings()`. If none is given, warnings are logged at the end.

    Returns: an iterator; missing files are noticed before it is returned.
    Raises: UserError, naming file and line, for whatever cannot be read without guessing: no
        records are handed on from behind such a place. See `fasta.parse_fasta`,
        `sources.inflated`.
    """
    return _read(expand(sources), counts)


def _read(names: list[str], counts: ReadCounts | None) -> Iterator[Record]:
    met = ReadCounts() if counts is None else counts
    for name in names:
        yield from parse_fasta(as_lines(as_text(inflated(name, met))), name, met)
    if counts is None:
        for warning in met.warnings():
            log.warning(warning)
