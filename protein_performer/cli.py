"""`protein-performer VERB`: what one does with a checkpoint, and with data before there is one.

Each verb is a file in `commands/`. In a checkout, training has its own door, `train.py`.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import protein_performer
from protein_performer.commands import train, verbs
from protein_performer.errors import UserError
from protein_performer.files import replacing


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns: the exit code: 0 only when all went well; 1 also when a verb did the most of its work
    and says of the rest, in its figures' `failed`, what it could not do.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["train"]:
        train.forward(arguments[1:])
        return 0
    args = _parser(arguments).parse_args(arguments)
    try:
        figures = args.run(args)
        if args.json is not None:
            with replacing(args.json) as partial:
                partial.write_text(json.dumps(figures, indent=2) + "\n")
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 1 if figures.get("failed") else 0


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="protein-performer", description="Linear-time protein language models."
    )
    top.add_argument("--version", action="version", version=protein_performer.__version__)
    parsers = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, summary in verbs().items():
        parser = parsers.add_parser(
            verb,
            help=summary.replace("%", "%%"),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if verb in arguments[:1]:  # imports torch and more: only for the verb that is asked for
            module = verb.replace("-", "_")
            command = importlib.import_module(f"protein_performer.commands.{module}")
            parser.description = command.__doc__
            command.add_arguments(parser)
            parser.add_argument(
                "--json", type=Path, metavar="FILE", help="write the figures there, too"
            )
            parser.set_defaults(run=command.run)
    return top


if __name__ == "__main__":
    sys.exit(main())
