"""`protein-performer VERB`: what one does with a checkpoint, and with data before there is one.

Training has its own door, `train.py`. Each verb is a file in `commands/` with a docstring (its
`--help`, example included), `add_arguments` and `run`.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from protein_performer.errors import UserError

VERBS = {
    "compare": "many runs in one table",
    "download": "proteins from UniProt: a whole release, or a query",
    "embed": "one vector a protein, or one a residue, into an HDF5 file",
    "evaluate": "accuracy and perplexity of a checkpoint on proteins of yours",
    "families": "which proteins belong to some Pfam families, to hold them out",
    "prepare": "FASTA or flat files into token shards; goes on after a kill",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb. Returns the exit code: 0 only when all went well."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    top = argparse.ArgumentParser(
        prog="protein-performer", description="Linear-time protein language models."
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, summary in VERBS.items():
        parser = verbs.add_parser(
            verb, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if verb in arguments[:1]:  # imports torch and more: only for the verb that is asked for
            command = importlib.import_module(f"protein_performer.commands.{verb}")
            parser.description = command.__doc__
            command.add_arguments(parser)
            parser.add_argument(
                "--json", type=Path, metavar="FILE", help="write the figures there, too"
            )
            parser.set_defaults(run=command.run)
    args = top.parse_args(arguments)
    try:
        figures = args.run(args)
        if args.json is not None:
            args.json.write_text(json.dumps(figures, indent=2) + "\n")
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
