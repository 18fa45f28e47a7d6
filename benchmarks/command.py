"""The command line that all benchmarks share: one error line for a mistake, figures as JSON."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from protein_performer.errors import UserError

Run = Callable[[argparse.Namespace], dict[str, object]]


def command_line(
    name: str,
    description: str | None,
    add_arguments: Callable[[argparse.ArgumentParser], None],
    run: Run,
    argv: Sequence[str] | None,
) -> int:
    """Parse, run, write the figures. Returns the exit code.

    Args:
        name: of the module, `python -m benchmarks.NAME`.
        description: its docstring.
        add_arguments: declares its options, but for `--json`.
        run: prints tables and returns the figures in plain types.
        argv: None takes the process's.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    args = parser.parse_args(argv)
    try:
        if args.json is not None:
            require_folder("--json", args.json)
        figures = run(args)
        if args.json is not None:
            args.json.write_text(json.dumps(figures, indent=2) + "\n")
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def require_folder(option: str, path: Path) -> None:
    """Before minutes of measurement, not after them. Raises: UserError."""
    if not path.parent.is_dir():
        raise UserError(f"{option} {path}: expected an existing folder, got {path.parent}")
