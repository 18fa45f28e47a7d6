"""One vector a protein, or one a residue, from a checkpoint of yours.

OUT is an HDF5 file (.h5), a NumPy archive (.npz), a table (.parquet) or a file of tensors
(.safetensors). Each holds accession and length of the proteins, in the order of the sources,
embedding (N, E), and a manifest: checkpoint, config, options and counts. With --pooling residue,
embedding has a row a residue, and protein i the rows offset[i]:offset[i + 1]. With --layout
uniprot an HDF5 file holds a dataset for each accession instead.

Killed, the same command goes on where it was. Proteins are read whole, however long, unless
--truncate or --window says otherwise. Started by torchrun or srun, on any number of machines, each
process takes a share; --devices and --num-nodes then say how many there should be.

  protein-performer embed logs/runs/RUN proteins.fasta.gz embeddings.h5
  protein-performer embed best.ckpt a.fasta b.fasta.gz vectors.npz --pooling max --layers -1,-2
  protein-performer embed best.ckpt - residues.h5 --pooling residue --dtype float16 < a.fasta
"""

import argparse
import dataclasses
import multiprocessing
import sys
import time
from pathlib import Path
from typing import get_args

from protein_performer.commands.arguments import (
    add_checkpoint,
    add_layers,
    add_sources,
    load_model,
    positive,
    warn,
)
from protein_performer.commands.progress import progress
from protein_performer.errors import UserError
from protein_performer.inference.embedding.embed_files import embed_files
from protein_performer.inference.embedding.embedding_files import Layout
from protein_performer.inference.embedding.embedding_parts import remove_parts
from protein_performer.inference.embedding.embedding_plan import EmbeddingCounts, EmbeddingOptions
from protein_performer.inference.embedding.pooling import Pooling
from protein_performer.inference.embedding.ranks import (
    Rank,
    check_ranks,
    own_gpu,
    rank_from_environment,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    add_checkpoint(parser)
    add_sources(parser)
    parser.add_argument("out", type=Path, metavar="OUT", help="the file to write")
    parser.add_argument(
        "--pooling",
        choices=get_args(Pooling),
        default="mean",
        help="over residues, the state at <bos> or <eos>, or each residue (default: %(default)s)",
    )
    add_layers(parser)
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32")
    parser.add_argument("--layout", choices=get_args(Layout), default="matrix", help="of HDF5")
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--truncate", type=positive, metavar="L", help="read the first L residues only"
    )
    length.add_argument(
        "--window",
        type=positive,
        metavar="L",
        help="read longer proteins in windows of L residues that overlap by half, averaged there",
    )
    parser.add_argument("--overwrite", action="store_true", help="begin anew, and replace OUT")
    parser.add_argument(
        "--devices",
        type=positive,
        metavar="N",
        help="processes of a machine, each with its own GPU (default: as many as were started)",
    )
    parser.add_argument(
        "--num-nodes",
        type=positive,
        metavar="N",
        help="machines, where srun or torchrun starts the processes (default: as many as they say)",
    )


def run(args: argparse.Namespace) -> dict[str, object]:
    """Do it, print what was done, return the figures."""
    start = time.perf_counter()
    rank = rank_from_environment()
    check_ranks(rank, args.devices, args.num_nodes)
    if args.overwrite and rank.num_ranks == 1:  # of several, another one may have begun
        remove_parts(args.out)
    if rank.num_ranks == 1 and (args.devices or 1) > 1:
        _share_out(args)
    counts = _embed(args, rank)
    seconds = time.perf_counter() - start
    warn([*counts.warnings(), *counts.changes()])
    if not counts.written:
        state = "is there" if args.out.exists() else "is written once all shares are"
        print(f"rank {rank.rank} of {rank.num_ranks}: its share is done; {args.out} {state}")
        return {"proteins": counts.proteins, "written": False}
    warn(f"failed: {each['accession']}: {each['reason']}" for each in counts.failed)
    embedded = counts.proteins - len(counts.failed)
    print(f"{embedded:,} proteins, {counts.residues:,} residues, {seconds:.1f} s -> {args.out}")
    return {
        "proteins": embedded,
        "residues": counts.residues,
        "truncated": counts.truncated,
        "windowed": counts.windowed,
        "left_out_empty": counts.reading.empty,
        "failed": counts.failed,
        "reused": counts.reused,
        "seconds": seconds,
    }


def _embed(args: argparse.Namespace, rank: Rank, *, finish: bool = True) -> EmbeddingCounts:
    if args.device is None and rank.num_ranks > 1:
        args.device = own_gpu(rank)
    model = load_model(args)
    names = [each.name for each in dataclasses.fields(EmbeddingOptions)]
    options = EmbeddingOptions(**{name: getattr(args, name) for name in names})
    with progress("embedding") as show:
        return embed_files(
            model,
            args.sources,
            args.out,
            options,
            overwrite=args.overwrite,
            rank=rank,
            finish=finish,
            on_progress=lambda counts, total: show(counts.proteins, counts.residues, total),
        )


def _share_out(args: argparse.Namespace) -> None:
    """Embed in processes of this machine; afterwards all parts are there, or this raises."""
    method = multiprocessing.get_context("spawn")  # a GPU's state does not survive a fork
    workers = [
        method.Process(target=_work, args=(args, Rank(i, args.devices, i)), daemon=True)
        for i in range(args.devices)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise UserError("a process failed, see above. The same command goes on from what is done.")


def _work(args: argparse.Namespace, rank: Rank) -> None:
    try:
        _embed(args, rank, finish=False)
    except (UserError, OSError) as error:
        sys.exit(f"error: rank {rank.rank}: {error}")
    except KeyboardInterrupt:  # the terminal sends it to all; this process's parent says so
        sys.exit(130)
