"""Turn FASTA or flat files into token shards, once; or check shards that are there.

Killed at any moment, the same command goes on and ends in the same bytes.

  protein-performer prepare data/trembl/uniprot_trembl.fasta.gz data/trembl/shards --workers 4
  protein-performer prepare 'data/*.fasta.gz' shards --split-test 0.05 --split-by accession
  protein-performer prepare uniprot_sprot.dat.gz shards --split-families paper
  protein-performer prepare --verify data/trembl/shards
"""

import argparse
import os
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from protein_performer.alphabet import Alphabet, ResiduePolicy
from protein_performer.data.prepare import Preparation, prepare
from protein_performer.data.splits import By, SplitRule
from protein_performer.data.verify import verify
from protein_performer.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="SOURCE... OUT",
        help="files, globs or addresses, plain or gzip, and the folder to write",
    )
    parser.add_argument(
        "--verify", action="store_true", help="check the folder OUT, and prepare nothing"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=max(0, len(os.sched_getaffinity(0)) - 1),
        metavar="N",
        help="processes that encode, beside the one that reads; changes no byte (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--residue-policy",
        choices=get_args(ResiduePolicy),
        default="error",
        help="of characters that are no residues (default: %(default)s)",
    )
    split = parser.add_argument_group("splits")
    split.add_argument("--split-valid", type=float, default=0.001, metavar="SHARE")
    split.add_argument("--split-test", type=float, default=0.01, metavar="SHARE")
    split.add_argument(
        "--split-by", choices=get_args(By), default="sequence", help="what is drawn by lot"
    )
    split.add_argument(
        "--split-clusters", metavar="TABLE", help="`cluster<TAB>accession`, perhaps .gz"
    )
    split.add_argument(
        "--split-ood", type=float, default=0.0, metavar="SHARE", help="of the clusters; 1 for all"
    )
    split.add_argument(
        "--split-families",
        nargs="+",
        default=[],
        metavar="PFxxxxx",
        help="held out, as flat files state them; `paper` for the Performer paper's 20",
    )
    split.add_argument("--split-seed", type=int, default=0, metavar="SEED")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Do it, print what was done, return the figures."""
    console = Console(highlight=False)
    *sources, out = args.paths
    if args.verify:
        if sources:
            raise UserError(f"--verify: expected one folder, got {len(args.paths)}")
        found = verify(Path(out))
        console.print(
            f"{out}: whole. {found.proteins:,} proteins, {found.residues:,} residues, none twice.",
            soft_wrap=True,
        )
        return dict(found._asdict())
    if not sources:
        raise UserError("expected at least one source and the folder to write")
    if args.workers < 0:
        raise UserError(f"--workers: expected at least 0, got {args.workers}")
    how = Preparation(Alphabet(), args.residue_policy, _rule(args))
    manifest = _prepare(sources, Path(out), how, args.workers)
    _print(console, manifest)
    console.print(f"{out}\nNext:  protein-performer prepare --verify {out}", soft_wrap=True)
    for split in manifest["splits"].values():
        del split["shards"]  # long, and in the manifest
    return {"path": out, **manifest}


def _rule(args: argparse.Namespace) -> SplitRule:
    return SplitRule(
        args.split_valid,
        args.split_test,
        ood=args.split_ood,
        clusters=args.split_clusters,
        families="paper" if args.split_families == ["paper"] else args.split_families,
        by=args.split_by,
        seed=args.split_seed,
    )


def _prepare(sources: list[str], out: Path, how: Preparation, workers: int) -> dict[str, Any]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as bar:
        task = bar.add_task("preparing", total=None)

        def show(done: int, total: int, records: int) -> None:
            bar.update(
                task, completed=done, total=total or None, description=f"{records:,} records"
            )

        return prepare(sources, out, how, workers=workers, on_progress=show)


def _print(console: Console, manifest: dict[str, Any]) -> None:
    console.print(
        f"{'split':5}  {'proteins':>11}  {'residues':>15}  {'copies':>9}  {'across':>7}"
        f"  {'lower':>7}  {'rare':>7}  {'unknown':>7}  {'skipped':>7}",
        soft_wrap=True,
    )
    for name, split in manifest["splits"].items():
        met = split["met"]
        console.print(
            f"{name:5}  {split['proteins']:>11,}  {split['residues']:>15,}"
            f"  {split['duplicates']:>9,}  {split['copies_across_splits']:>7,}"
            f"  {met['lower_case']:>7,}  {met['rare']:>7,}  {met['unknown']:>7,}"
            f"  {met['skipped']:>7,}",
            soft_wrap=True,
        )
    console.print(
        f"{manifest['read']['records']:,} records read; {manifest['read']['empty']:,} without a"
        f" sequence and {manifest['emptied']:,} without a residue left out;"
        f" {manifest['repeated_accessions']:,} repeated accessions; equal sequences in two splits:"
        f" {manifest['leaks']:,}",
        soft_wrap=True,
    )
