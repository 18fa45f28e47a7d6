"""What a probe predicted for the test proteins, as rows of a file."""

from pathlib import Path

import numpy as np

from protein_performer.inference.probing.labelled_proteins import NOT_ASKED, LabelledProteins
from protein_performer.inference.probing.probing import ProbeReport
from protein_performer.inference.row_file import Column, writing_rows


def write_predictions(
    path: Path, labelled: LabelledProteins, report: ProbeReport, *, overwrite: bool = False
) -> None:
    """Write a row a test protein, or a row a residue of them: what is so, and what was predicted.

    The columns are `protein`, for residues `position` (from 1), `target`, and one for each kind of
    features.

    Args:
        path: see `writing_rows`.
        labelled: that the report is of.
        report: what was predicted.
        overwrite: replace a file that is there.
    """
    members = labelled.members("test")
    labels = [labelled.labels[i] for i in members]
    residues = labelled.task == "residues"
    asked = [np.flatnonzero(each != NOT_ASKED) if residues else np.zeros(1, int) for each in labels]
    columns: dict[str, Column] = {
        "protein": [labelled.names[i] for i, rows in zip(members, asked, strict=True) for _ in rows]
    }
    if residues:
        columns["position"] = np.concatenate(asked) + 1
    values = {"target": np.concatenate([x[rows] for x, rows in zip(labels, asked, strict=True)])}
    values |= {row.name.replace(" ", "_"): row.predictions for row in report.rows}
    for name, each in values.items():
        columns[name] = np.array(labelled.classes)[each] if labelled.classes else each
    with writing_rows(path, overwrite=overwrite) as rows:
        rows.append(columns)
