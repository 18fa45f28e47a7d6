"""A table of proteins with a number or a class of each: FLIP's `sequence,target,set,validation`.

Source: Dallago et al. 2021, FLIP: Benchmark tasks in fitness landscape inference for proteins.
"""

import math
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from protein_performer.errors import UserError
from protein_performer.inference.delimited_file import by_column, read_cells
from protein_performer.inference.probing.labelled_proteins import (
    LabelledProteins,
    Part,
    Task,
    check_parts,
    classes_of,
    part_of,
)

SEQUENCE, TARGET, SET, VALIDATION = COLUMNS = ("sequence", "target", "set", "validation")
_MISSING = ("", "nan", "na", "none")


class _Known(NamedTuple):
    where: str
    sequence: str
    target: str
    part: Part


def read_labelled_table(path: Path, task: Task | None = None) -> LabelledProteins:
    """Read a table, in its order.

    Args:
        path: comma-separated, or tab-separated if its name has `.tsv`; perhaps `.gz`. Further
            columns are not read; without `validation` nothing could be chosen.
        task: what targets are; None for numbers if the first one is, else for classes.

    Raises: UserError, naming file, line and column. Rows without a sequence, a target or a set are
        left out, and counted.
    """
    cells = read_cells(path, "labelled proteins")
    where, header = next(cells, (str(path), []))
    lacking = [name for name in COLUMNS if name not in header]
    if lacking:
        raise UserError(
            f"{where}: expected a header with the columns {', '.join(COLUMNS)}, as FLIP's files"
            f" have; {', '.join(lacking)} not among {', '.join(header) or 'none'}"
        )
    odd: Counter[str] = Counter()
    rows: list[_Known] = []
    for where, row in by_column(cells, header):
        values = {name: row[name].strip() for name in COLUMNS}
        missing = [each for each in COLUMNS[:3] if values[each].lower() in _MISSING]
        if missing:
            odd[f"rows without a {missing[0]}, left out"] += 1
            continue
        names = (f"column {SET}", f"column {VALIDATION}")
        part = part_of(values[SET], values[VALIDATION], where, names)
        rows.append(_Known(where, values[SEQUENCE], values[TARGET], part))
    labelled = _labelled(rows, task, odd)
    check_parts(labelled, str(path))
    return labelled


def _labelled(rows: list[_Known], task: Task | None, odd: Counter[str]) -> LabelledProteins:
    if task is None:
        task = "regression" if rows and _is_number(rows[0].target) else "classification"
    targets = [row.target for row in rows]
    classes: list[str] = []
    values = np.array([])
    if task == "regression":
        values = np.array([_number(row) for row in rows])
    elif targets:
        classes, values = classes_of(targets)
    return LabelledProteins(
        task=task,
        names=[row.where for row in rows],
        sequences=[row.sequence for row in rows],
        labels=list(values.reshape(-1, 1)),
        parts=[row.part for row in rows],
        classes=classes,
        odd=odd,
    )


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _number(row: _Known) -> float:
    if not _is_number(row.target):
        raise UserError(
            f"{row.where}, column {TARGET}: expected a number, got {row.target!r}. Leave it empty"
            " where nothing was measured; --task classification reads targets as classes."
        )
    return float(row.target)
