"""Write one page of any runs: a table beside the paper's rows, curves, commands; one HTML file.

It opens without a network. Folders are those of runs, or of a sweep.

  protein-performer report logs/multiruns/2026-01-31_12-00-00 -o report.html
  protein-performer report logs/runs/one logs/runs/another -o report.html --title "Two kernels"
"""

import argparse
from pathlib import Path

from protein_performer.errors import UserError
from protein_performer.reporting.runs import read_runs
from protein_performer.reporting.tables import make_console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="DIR", help="of a run, or of a sweep")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.html")
    parser.add_argument("--title", default="Runs", help="of the page (default: %(default)s)")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Write the page, say where it is, return what is on it."""
    try:
        from protein_performer.reporting.page import write_page
    except ImportError as error:
        raise UserError(
            f"the page needs {error.name}: pip install 'protein-performer[report]'"
        ) from error
    runs = read_runs(args.runs)
    write_page(runs, args.output, title=args.title)
    make_console().print(f"{args.output}: {len(runs)} runs", soft_wrap=True, highlight=False)
    return {"page": str(args.output), "runs": {str(each.folder): each.state for each in runs}}
