"""A kind of source in a package of the user's own; CONTRIBUTING.md tells how it is trained on."""

import csv
from pathlib import Path

from protein_performer.files import replacing


def from_table(*, table, folder):
    """Write a FASTA file of a table's columns `id` and `protein`, and return its path.

    Written once for each state of the table: the data module prepares it as any other source. It
    appears whole or not at all, so a run that is killed meanwhile leaves no part for the next one.
    """
    table, folder = Path(table), Path(folder)
    state = table.stat()
    path = folder / f"{table.stem}-{state.st_mtime_ns}-{state.st_size}.fasta"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with table.open(newline="") as rows, replacing(path) as partial:
            records = (f">{row['id']}\n{row['protein']}\n" for row in csv.DictReader(rows))
            partial.write_text("".join(records))
    return path
