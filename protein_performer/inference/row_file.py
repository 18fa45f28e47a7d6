"""Rows to a CSV or Parquet file, a part at a time; the file appears when it is complete."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from protein_performer.errors import UserError
from protein_performer.files import replacing

SUFFIXES = (".csv", ".tsv", ".parquet")

Column = Sequence[Any] | NDArray[Any]


class RowFile(Protocol):
    """Takes rows, in columns of equal length."""

    def append(self, columns: Mapping[str, Column]) -> None:
        """Add rows; every call has the same columns, in the same order.

        Args:
            columns: by name, (N,) each; (N, E) arrays become lists of E, in Parquet only.
        """
        ...


@contextmanager
def writing_rows(
    path: Path, *, overwrite: bool = False, metadata: Mapping[str, str] | None = None
) -> Iterator[RowFile]:
    """A file of rows, of the kind that its suffix says.

    Args:
        path: `.csv`, `.tsv`, or `.parquet`, which needs the extra `parquet`; its folder is made.
        overwrite: replace a file that is there.
        metadata: facts about the rows, kept in Parquet's schema; a CSV file has no place for them.

    Raises: UserError before any row is taken, for a path that cannot be.
    """
    check_row_path(path, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        if path.suffix == ".parquet":
            parquet = _ParquetRows(partial, metadata or {})
            yield parquet
            parquet.close()
        else:
            with partial.open("w", newline="", encoding="utf-8") as file:
                yield _DelimitedRows(file, "," if path.suffix == ".csv" else "\t")


def check_row_path(path: Path, *, overwrite: bool = False) -> None:
    """Raise UserError if no rows can be written there, before the work that makes them."""
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: expected a name that ends in {', '.join(SUFFIXES)}")
    if path.is_dir():
        raise UserError(f"{path}: expected a file to write, this is a folder")
    if path.exists() and not overwrite:
        raise UserError(f"{path}: the file exists. Remove it, choose another, or --overwrite.")
    if path.suffix == ".parquet":
        _pyarrow()


def row_metadata(path: Path) -> dict[str, str]:
    """The facts that a Parquet file keeps. Raises ValueError for another kind of file."""
    found = _pyarrow().parquet.read_schema(path).metadata or {}
    return {name.decode(): value.decode() for name, value in found.items()}


class _DelimitedRows:
    def __init__(self, file: Any, delimiter: str) -> None:
        self._writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        self._begun = False

    def append(self, columns: Mapping[str, Column]) -> None:
        if not self._begun:
            self._writer.writerow(columns)
            self._begun = True
        values = [
            each.tolist() if isinstance(each, np.ndarray) else each for each in columns.values()
        ]
        self._writer.writerows(zip(*values, strict=True))


class _ParquetRows:
    def __init__(self, path: Path, metadata: Mapping[str, str]) -> None:
        self._path = path
        self._metadata = dict(metadata)
        self._writer: Any = None

    def append(self, columns: Mapping[str, Column]) -> None:
        arrow = _pyarrow()
        table = arrow.table({name: _arrow_column(values) for name, values in columns.items()})
        if self._writer is None:
            schema = table.schema.with_metadata(self._metadata)
            self._writer = arrow.parquet.ParquetWriter(self._path, schema)
        self._writer.write_table(table.cast(self._writer.schema))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _arrow_column(values: Column) -> Any:
    arrow = _pyarrow()
    if isinstance(values, np.ndarray) and values.ndim == 2:
        flat = arrow.array(np.ascontiguousarray(values).reshape(-1))
        return arrow.FixedSizeListArray.from_arrays(flat, values.shape[1])
    return arrow.array(values)


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(
            "Parquet needs pyarrow: pip install 'protein-performer[parquet]', or write .csv"
        ) from None
    return pyarrow
