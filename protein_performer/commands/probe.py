"""What a linear probe reads off a checkpoint's embeddings, beside what it reads off less.

LABELLED is a table with the columns sequence, target, set and validation (FLIP's .csv or .csv.gz),
or a folder of FASTA files: sequences, labels (a letter a residue; SET= and VALIDATION= in the
header) and perhaps mask. A ridge regression is judged by Spearman's correlation, a logistic
regression by accuracy; the penalty is the one that is best on the validation proteins. In brackets:
95 % intervals over resampled test proteins. Beside the model: the letters' shares, the letters
themselves, and an untrained model of the same config. Needs the extra `probe`.

  protein-performer probe logs/runs/RUN flip_gb1/sampled.csv.gz --pooling sites --json figures.json
  protein-performer probe best.ckpt flip_secondary_structure --out predictions.csv
"""

import argparse
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from rich.table import Table

from protein_performer.commands.arguments import (
    add_checkpoint,
    add_layers,
    load_model,
    positive,
    warn,
)
from protein_performer.errors import UserError
from protein_performer.inference.probing.labelled_proteins import PARTS, LabelledProteins, Part
from protein_performer.inference.probing.labelled_residues import (
    FASTA_SUFFIXES,
    read_labelled_residues,
)
from protein_performer.inference.probing.labelled_table import read_labelled_table
from protein_performer.inference.probing.prediction_file import write_predictions
from protein_performer.inference.probing.probe_kinds import ProbeOptions, ProbePooling
from protein_performer.inference.probing.probing import (
    Probed,
    ProbeReport,
    probe,
)
from protein_performer.inference.row_file import check_row_path
from protein_performer.reporting.tables import make_console

_FEW = 0.1  # the share of positions that differ, below which a mean over all of them says little


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    add_checkpoint(parser)
    parser.add_argument("labelled", type=Path, metavar="LABELLED", help="see above")
    parser.add_argument(
        "--task",
        choices=("regression", "classification"),
        help="what a table's targets are (default: regression if the first one is a number)",
    )
    parser.add_argument(
        "--pooling",
        choices=get_args(ProbePooling),
        help="of a protein's states; sites: side by side, those where the sequences, all of one"
        " length, differ (default: mean; residues are not pooled)",
    )
    add_layers(parser)
    parser.add_argument(
        "--window", type=positive, metavar="L", help="read longer proteins in windows, as embed"
    )
    parser.add_argument(
        "--residues",
        type=int,
        default=200_000,
        metavar="N",
        help="labelled residues of training, and of validation, that the probe sees: whole proteins"
        " are drawn until there are so many; 0 for all (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the draw, and of the untrained model (default: 0)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="predictions for the test: .csv, .tsv or .parquet"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it is there")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Do it, print what was done, return the figures."""
    start = time.perf_counter()
    if args.out is not None:
        check_row_path(args.out, overwrite=args.overwrite)
    labelled = _read(args)
    options = ProbeOptions(
        pooling=args.pooling,
        layers=args.layers,
        window=args.window,
        residues=args.residues or None,
        seed=args.seed,
        trusted_packages=tuple(args.trust),
    )
    report = probe(
        load_model(args),
        labelled,
        options,
        on_features=lambda name: print(f"probing: {name}", file=sys.stderr),
    )
    warn([*labelled.warnings(), *_warnings(labelled, report, args)])
    for line in _lines(labelled, report):
        print(line)
    make_console().print(_table(labelled, report))
    if args.out is not None:
        write_predictions(args.out, labelled, report, overwrite=args.overwrite)
        print(f"predictions -> {args.out}")
    return {**_figures(labelled, report), "seconds": time.perf_counter() - start}


def _read(args: argparse.Namespace) -> LabelledProteins:
    path: Path = args.labelled
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder of labelled proteins")
    if not path.is_dir() and not path.name.endswith(FASTA_SUFFIXES):
        return read_labelled_table(path, args.task)
    if args.task is not None:
        raise UserError(f"--task is of tables; {path} has classes of residues")
    return read_labelled_residues(path)


def _warnings(
    labelled: LabelledProteins, report: ProbeReport, args: argparse.Namespace
) -> Iterator[str]:
    if report.letters.unknown:
        yield f"{report.letters.unknown:,} characters outside the alphabet read as unknown"
    length = len(labelled.sequences[0])
    if report.sites is not None and args.pooling != "sites" and report.sites < _FEW * length:
        yield (
            f"all sequences have {length:,} residues, and differ at {report.sites:,} positions:"
            " a state pooled over all dilutes what differs; --pooling sites takes the states there"
        )
    for row in report.rows:
        if not row.converged:
            yield f"{row.name}: the regression had not converged; its figure may be too low"


def _lines(labelled: LabelledProteins, report: ProbeReport) -> Iterator[str]:
    what = "residues" if labelled.task == "residues" else "proteins"
    known = ", ".join(_used(labelled, report, part, what) for part in PARTS)
    yield f"{labelled.task}: {known}"
    if report.constant is not None:
        yield f"most frequent class of training: accuracy {report.constant:.2%} on the test"


def _used(labelled: LabelledProteins, report: ProbeReport, part: Part, what: str) -> str:
    members = len(labelled.members(part))
    of_all = "" if members == report.proteins[part] else f" of {members:,}"
    known = f", {report.labels[part]:,} residues" if what == "residues" else ""
    return f"{part} {report.proteins[part]:,}{of_all} proteins{known}"


def _table(labelled: LabelledProteins, report: ProbeReport) -> Table:
    figure = "Spearman" if labelled.task == "regression" else "accuracy"
    table = Table()
    for title in ("features", "number", "penalty", "validation", f"test {figure}", "model - this"):
        table.add_column(title, justify="left" if title == "features" else "right")
    form = ".3f" if labelled.task == "regression" else ".2%"
    for row in report.rows:
        table.add_row(
            row.name,
            f"{row.features:,}",
            f"{row.penalty:g}",
            f"{row.validation:{form}}",
            _with_interval(row.test, row.interval, form),
            "" if row is report.rows[-1] else _with_interval(row.gain, row.gain_interval, form),
        )
    return table


def _with_interval(value: float, interval: tuple[float, float], form: str) -> str:
    if math.isnan(value):
        return "not defined"
    return f"{value:{form}} ({interval[0]:{form}} to {interval[1]:{form}})"


def _figures(labelled: LabelledProteins, report: ProbeReport) -> dict[str, object]:
    return {
        "task": labelled.task,
        "classes": labelled.classes,
        "proteins": report.proteins,
        "labels": report.labels,
        "left_out": dict(labelled.odd),
        "sites": report.sites,
        "most_frequent_class_accuracy": report.constant,
        "features": {row.name: _row_figures(row) for row in report.rows},
    }


def _row_figures(row: Probed) -> dict[str, object]:
    figures = {
        "number": row.features,
        "penalty": row.penalty,
        "validation": row.validation,
        "test": row.test,
        "test_low": row.interval[0],
        "test_high": row.interval[1],
        "model_minus_this": row.gain,
        "model_minus_this_low": row.gain_interval[0],
        "model_minus_this_high": row.gain_interval[1],
    }
    return {name: None if math.isnan(value) else value for name, value in figures.items()}
