"""Write the tables of published results into documents, where these have a place for them.

A place is two comments around the table, `<!-- results/NAME.json -->` before it and
`<!-- end of results/NAME.json -->` behind it. What stands between them is made anew.

  protein-performer document README.md docs/paper.md
"""

import argparse
from pathlib import Path

from protein_performer.errors import UserError
from protein_performer.files import replacing
from protein_performer.reporting.run_results import with_tables


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("documents", type=Path, nargs="+", metavar="FILE", help="Markdown")
    parser.add_argument(
        "--root",
        type=Path,
        default=Path(),
        help="where the paths of results start (default: here)",
    )


def run(args: argparse.Namespace) -> dict[str, object]:
    """Do it, print what was done, return the figures."""
    changed = []
    for path in args.documents:
        if not path.is_file():
            raise UserError(f"{path}: expected a document, found no such file")
        before = path.read_text()
        after = with_tables(before, args.root)
        if after != before:
            with replacing(path) as partial:
                partial.write_text(after)
            changed.append(str(path))
        print(f"{path}: {'changed' if after != before else 'as it was'}")
    return {"changed": changed}
