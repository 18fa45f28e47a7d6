"""Files of variants, as ProteinGym has them: `mutant,mutated_sequence,DMS_score,DMS_score_bin`."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from protein_performer.errors import UserError
from protein_performer.inference.delimited_file import Row, by_column, read_cells
from protein_performer.inference.scoring.mutations import (
    Variant,
    check_variant,
    mutate,
    parse_variant,
)

MUTANT, SEQUENCE, MEASURED = "mutant", "mutated_sequence", "DMS_score"
_FIT = "{}_bin"  # the column that says which measurements count as fit


class VariantTable(NamedTuple):
    """What a file says of variants of one protein, in its order.

    Attributes:
        mutants: (N,) as the file writes them.
        variants: (N,) of the same.
        column: of the measurements; None if there are none.
        measured: (N,) float64; NaN where the file has none.
        fit: (N,) bool, of measurements that count as fit; False where there is none.
        fit_column: that `fit` is from; None if it is of measurements of at least their median,
            ProteinGym's rule where nobody has set a threshold by hand.
    """

    mutants: list[str]
    variants: list[Variant]
    column: str | None
    measured: NDArray[np.float64]
    fit: NDArray[np.bool_]
    fit_column: str | None


def read_variants(
    path: Path, wild_type: str, letters: str, column: str | None = None
) -> VariantTable:
    """Read variants, and hold each against the wild type.

    Args:
        path: comma-separated, or tab-separated if its name has `.tsv`; perhaps `.gz`. Its header
            has `mutant`; a file whose first line is a variant has none, and one variant a line.
        wild_type: upper-case residues.
        letters: of the model's alphabet.
        column: of the measurements; None for `DMS_score` if there is one.

    Raises: UserError, naming file and line, for a variant that does not fit the wild type, or is
        not the `mutated_sequence` beside it, and for a measurement that is no number.
    """
    mutants: list[str] = []
    variants: list[Variant] = []
    measured: list[float] = []
    fit: list[float] = []
    for where, row in _rows(path):
        text = row[MUTANT]
        variant = parse_variant(text, where)
        check_variant(variant, wild_type, letters, where)
        _check_sequence(row.get(SEQUENCE), wild_type, variant, where)
        if column is None and MEASURED in row:
            column = MEASURED
        if column is not None:
            measured.append(_number(row, column, where))
            fit.append(_number(row, _FIT.format(column), where, missing=True))
        mutants.append(text.strip())
        variants.append(variant)
    if not variants:
        raise UserError(f"{path}: expected variants, found none")
    numbers = np.array(measured or [math.nan] * len(variants))
    fits, fit_column = _fit(numbers, np.array(fit), column)
    return VariantTable(mutants, variants, column, numbers, fits, fit_column)


def _fit(
    measured: NDArray[np.float64], given: NDArray[np.float64], column: str | None
) -> tuple[NDArray[np.bool_], str | None]:
    if column is not None and not np.isnan(given).all():
        return given > 0.5, _FIT.format(column)
    known = measured[~np.isnan(measured)]
    return (measured >= np.median(known) if len(known) else np.zeros(len(measured), bool)), None


def _rows(path: Path) -> Iterator[Row]:
    """The cells of each line, by the header's names."""
    cells = read_cells(path, "variants")
    _, header = next(cells, ("", []))
    if MUTANT not in header:
        yield _of_plain_list(path, header)
        header = [MUTANT]
    yield from by_column(cells, header)


def _of_plain_list(path: Path, first: list[str]) -> Row:
    """The first line of a file without a header."""
    try:
        if len(first) == 1:
            parse_variant(first[0])
            return f"{path}, line 1", {MUTANT: first[0]}
    except UserError:
        pass
    raise UserError(
        f"{path}: expected a header with the column {MUTANT!r}, or one variant a line; the first"
        f" line is {','.join(first)[:80]!r}"
    )


def _check_sequence(sequence: str | None, wild_type: str, variant: Variant, where: str) -> None:
    if not sequence:
        return
    expected = mutate(wild_type, variant)
    if sequence.upper() == expected:
        return
    if len(sequence) != len(expected):
        how = f"it has {len(sequence)} residues, the wild type {len(expected)}"
    else:
        place = next(i for i, letter in enumerate(expected) if sequence[i].upper() != letter)
        how = f"residue {place + 1} is {sequence[place]}, not {expected[place]}"
    raise UserError(
        f"{where}: {SEQUENCE} is not the wild type with this row's mutations: {how}. Is this its"
        " wild type?"
    )


def _number(row: dict[str, str], column: str, where: str, *, missing: bool = False) -> float:
    """A cell as a number; NaN if it is empty.

    Args:
        missing: whether the column need not be there.
    """
    if column not in row:
        if missing:
            return math.nan
        raise UserError(f"{where}: there is no column {column!r}. There are: {', '.join(row)}")
    text = row[column].strip()
    try:
        value = float(text) if text else math.nan
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise UserError(f"{where}: {column}: expected a number, got {text!r}")
    return value
