"""Comma- or tab-separated files, perhaps gzipped: rows with their place, for errors."""

import csv
import gzip
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from protein_performer.errors import UserError

Row = tuple[str, dict[str, str]]  # file and line, for errors; the cells by their columns


def read_cells(path: Path, what: str) -> Iterator[tuple[str, list[str]]]:
    """File and line, and cells, of every row that is not empty, the header's included.

    Args:
        path: comma-separated, or tab-separated if its name has `.tsv`; perhaps `.gz`.
        what: the file is of, for errors.

    Raises: UserError for what is no text, no such table, or damaged.
    """
    delimiter = "\t" if ".tsv" in path.suffixes else ","
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            for cells in reader:
                if cells:
                    yield f"{path}, line {reader.line_num:,}", cells
    except (csv.Error, UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
        raise UserError(f"{path}: not a text file of {what}, or damaged ({error})") from None


def by_column(cells: Iterable[tuple[str, list[str]]], header: Sequence[str]) -> Iterator[Row]:
    """Rows with the header's names. Raises UserError for one of another number of cells."""
    for where, row in cells:
        if len(row) != len(header):
            raise UserError(
                f"{where}: expected {len(header)} cells, as in the header, got {len(row)}"
            )
        yield where, dict(zip(header, row, strict=True))
