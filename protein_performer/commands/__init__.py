"""The verbs of the command line, one file each.

A file with a function `run` is a verb, named as the file (`_` becomes `-`). Its docstring is its
`--help`, example included; the docstring's first line is its summary in the list of verbs. Beside
`run(args)`, which returns the figures for `--json`, it has `add_arguments(parser)`. A verb whose
words are another program's has `forward(words)` instead.
"""

import ast
from pathlib import Path


def verbs(folder: Path = Path(__file__).parent) -> dict[str, str]:
    """Each verb with its summary, read without importing it, since most import torch."""
    found = {}
    for path in sorted(folder.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(
            isinstance(node, ast.FunctionDef) and node.name in ("run", "forward")
            for node in tree.body
        ):
            summary = (ast.get_docstring(tree) or "").partition("\n")[0]
            found[path.stem.replace("_", "-")] = summary.rstrip(".")
    return found
