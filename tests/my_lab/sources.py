"""A kind of source in a package of the user's own; CONTRIBUTING.md tells how it is trained on."""

import csv
from pathlib import Path


def from_table(*, table, folder):
    """Write a FASTA file of a table's columns `id` and `protein`, and return its path.

    Written once for each state of the table: the data module prepares it as any other source.
    """
    table, folder = Path(table), Path(folder)
    path = folder / f"{table.stem}-{int(table.stat().st_mtime)}.fasta"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with table.open(newline="") as rows:
            records = (f">{row['id']}\n{row['protein']}\n" for row in csv.DictReader(rows))
            path.write_text("".join(records))
    return path
