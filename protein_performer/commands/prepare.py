"""Turn FASTA or flat files into token shards, once; or check shards that are there.

Killed at any moment, the same command goes on and ends in the same bytes. What was read, dropped,
replaced and left out is printed, and kept in OUT as report.json and report.png.

  protein-performer prepare data/trembl/uniprot_trembl.fasta.gz data/trembl/shards --workers 4
  protein-performer prepare 'data/*.fasta.gz' shards --split-test 0.05 --split-by accession
  protein-performer prepare uniprot_sprot.dat.gz shards --split-families paper
  protein-performer prepare --verify data/trembl/shards
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any, get_args

from rich.console import Console

from protein_performer.alphabet import Alphabet, ResiduePolicy
from protein_performer.data.fetching.transfer import byte_bar
from protein_performer.data.manifest import open_split, verify
from protein_performer.data.preparing.folder_report import describe_folder
from protein_performer.data.preparing.pipeline import lock_of, prepare
from protein_performer.data.preparing.preprocessing import ProteinPreprocessing
from protein_performer.data.splits import By, SplitRule
from protein_performer.errors import UserError
from protein_performer.files import locked, replacing
from protein_performer.reporting.data_report import PAPER, FolderReport, LengthCounts
from protein_performer.reporting.plots import proteins_figure

REPORT, PICTURE = "report.json", "report.png"


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
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help=f"for the picture, instead of OUT/{PICTURE}"
    )
    split = parser.add_argument_group("splits")
    split.add_argument("--split-val", type=float, default=0.001, metavar="SHARE")
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
            f"{out}: whole. {found.proteins:,} proteins, {found.residues:,} residues.",
            soft_wrap=True,
        )
        return dict(found._asdict())
    if not sources:
        raise UserError("expected at least one source and the folder to write")
    if args.workers < 0:
        raise UserError(f"--workers: expected at least 0, got {args.workers}")
    how = ProteinPreprocessing(Alphabet(), args.residue_policy, _rule(args))
    manifest = _prepare(sources, Path(out), how, args.workers)
    report, picture = _report(Path(out), manifest, args.plot)
    for paragraph in report.paragraphs(with_paper=True):
        console.print(paragraph + "\n", soft_wrap=True, markup=False)
    console.print(
        f"{out}, {picture}\nNext:\n"
        f"  python train.py data.prepared={out}\n"
        f"  protein-performer prepare --verify {out}",
        soft_wrap=True,
        markup=False,
    )
    definition = manifest["definition"]
    return {"path": out, "picture": str(picture), "definition": definition, **report.plain()}


def _rule(args: argparse.Namespace) -> SplitRule:
    return SplitRule(
        args.split_val,
        args.split_test,
        ood=args.split_ood,
        clusters=args.split_clusters,
        families="paper" if args.split_families == ["paper"] else args.split_families,
        by=args.split_by,
        seed=args.split_seed,
    )


def _prepare(
    sources: list[str], out: Path, how: ProteinPreprocessing, workers: int
) -> dict[str, Any]:
    with byte_bar() as bar:
        task = bar.add_task("preparing", total=None)

        def show(done: int, total: int, records: int) -> None:
            bar.update(
                task, completed=done, total=total or None, description=f"{records:,} records"
            )

        return prepare(sources, out, how, workers=workers, on_progress=show)


def _report(out: Path, manifest: dict[str, Any], picture: Path | None) -> tuple[FolderReport, Path]:
    """The report, kept in the folder, and its picture; what is there already is left alone."""
    counts = {name: open_split(out, manifest, name).length_counts() for name in manifest["splits"]}
    report = describe_folder(manifest, counts)
    path, content = out / REPORT, json.dumps(report.plain(), indent=1) + "\n"
    with locked(lock_of(out)):
        for leftover in out.glob(".*.partial"):  # of a process that was killed
            leftover.unlink()
        kept = path.exists() and path.read_text() == content
        if picture is not None:
            _draw(report, counts, picture)
        elif not (kept and (out / PICTURE).exists()):
            _draw(report, counts, out / PICTURE)
        if not kept:
            with replacing(path) as partial:
                partial.write_text(content)
    return report, picture or out / PICTURE


def _draw(report: FolderReport, counts: LengthCounts, path: Path) -> None:
    paper = PAPER["train"]
    figure = proteins_figure(
        counts,
        {name: split.residue_shares for name, split in report.splits.items()},
        {"paper's mean": paper.mean, "paper's median": paper.median},
        f"{report.read['records']:,} records; without copies {report.all.residues:,} residues",
    )
    with replacing(path) as partial:
        # Without the program's version, equal folders have equal pictures.
        figure.savefig(partial, dpi=120, format="png", metadata={"Software": None})
