"""Where the time of `prepare` goes, in one process: nanoseconds of CPU time for each record.

python -m protein_performer.benchmark.data_stages proteins.fasta.gz
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from inspect import isgeneratorfunction
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from protein_performer.benchmark.data_reading import codecs, prepare_shards
from protein_performer.data import splits
from protein_performer.data.preparing import duplicates, encoding, prepare
from protein_performer.data.reading import sources
from protein_performer.data.storage import shards

# What is told -> functions where they are looked up. Each runs once for hundreds of records, so
# that watching costs little, and none within another one, but for `INFLATE` within `READ`.
INFLATE, READ, REST = "read, inflate", "cut between records", "everything else"
STAGES: dict[str, list[tuple[Any, str]]] = {
    INFLATE: [(sources, "gunzip")],
    READ: [(prepare, "bundled")],
    "parse": [(encoding, "parse_columns")],
    "residues to codes": [(encoding.Encoder, "_look_up")],
    "digest sequences": [(encoding, "digest_each")],
    "draw splits": [(encoding, "digest_names"), (splits.SplitRule, "assign")],
    "share out, count tokens": [(encoding.Encoder, "_part")],
    "write, checksum": [(shards._OpenShard, "_put"), (duplicates.DigestFile, "add")],
    "bring to the disk": [(shards._OpenShard, "_sync"), (duplicates.DigestFile, "sync")],
    "find copies": [(duplicates.DigestFile, "find_copies")],
    "sort by length": [(prepare, "write_index"), (prepare, "file_sha256")],
}


def stage_nanoseconds(source: Path, folder: Path, codec: str) -> dict[str, float]:
    """Prepare a source; CPU time of each stage for a record that takes part, in nanoseconds.

    Args:
        source: FASTA, gzip.
        folder: to prepare in.
        codec: see `data_reading.codecs`.
    """
    seconds = dict.fromkeys(STAGES, 0.0)
    with ExitStack() as stack:
        for stage, places in STAGES.items():
            for owner, name in places:
                original = getattr(owner, name)
                stack.callback(setattr, owner, name, original)
                setattr(owner, name, _watched(original, stage, seconds))
        start = time.process_time()
        proteins = prepare_shards(source, folder, 0, codec)
        total = time.process_time() - start
    seconds[READ] -= seconds[INFLATE]
    seconds[REST] = total - sum(seconds.values())
    return {stage: 1e9 * each / proteins for stage, each in seconds.items()}


def _watched(
    function: Callable[..., Any], stage: str, seconds: dict[str, float]
) -> Callable[..., Any]:
    """The same function, whose CPU time is added to its stage's."""

    def call(*args: Any, **options: Any) -> Any:
        start = time.process_time()
        try:
            return function(*args, **options)
        finally:
            seconds[stage] += time.process_time() - start

    def go_through(*args: Any, **options: Any) -> Iterator[Any]:
        items, end = function(*args, **options), object()
        while True:
            start = time.process_time()
            item = next(items, end)
            seconds[stage] += time.process_time() - start
            if item is end:
                return
            yield item

    return go_through if isgeneratorfunction(function) else call


def main(source: Path) -> None:
    """Print a table."""
    table = Table(title="prepare: ns of CPU time for each record", title_justify="left")
    table.add_column("")
    columns = []
    for codec in codecs():
        table.add_column(codec, justify="right")
        with tempfile.TemporaryDirectory() as folder:
            columns.append(stage_nanoseconds(source, Path(folder) / "prepared", codec))
    for stage in sorted(columns[0], key=lambda stage: -columns[0][stage]):
        table.add_row(stage, *(f"{column[stage]:,.0f}" for column in columns))
    table.add_section()
    table.add_row("together", *(f"{sum(column.values()):,.0f}" for column in columns))
    Console().print(table)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
