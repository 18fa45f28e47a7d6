"""What is timed between a FASTA.gz file and finished shards; each runs in a process of its own.

No PyTorch here: preparing does not need it, and its memory would hide what is measured.
"""

import gzip
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from Bio.SeqIO.FastaIO import SimpleFastaParser

from protein_performer.alphabet import Alphabet
from protein_performer.data.preparing.pipeline import prepare
from protein_performer.data.preparing.preprocessing import ProteinPreprocessing
from protein_performer.data.reading.reader import Place, read_from
from protein_performer.data.reading.record import ReadCounts
from protein_performer.data.splits import SplitRule

ISAL, ZLIB = "isal", "zlib"  # what inflates
SPLITS = SplitRule(val=0.001, test=0.01)  # those of data=trembl
PREPARATION = ProteinPreprocessing(Alphabet(), "error", SPLITS)


def codecs() -> list[str]:
    """What there is to inflate with, the one that is used first."""
    return [ISAL, ZLIB] if find_spec("isal") is not None else [ZLIB]


def inflate(source: Path, codec: str) -> int:
    """Inflate and cut between records, as the reader does who feeds encoders; bytes of text."""
    with _inflating_with(codec):
        return sum(len(block.text) for block, _ in read_from([str(source)], Place(), ReadCounts()))


def parse_with_biopython(source: Path) -> int:
    """What one would write otherwise, with nothing done with the records; their number."""
    with gzip.open(source, "rt") as lines:
        parser = SimpleFastaParser(lines)  # type: ignore[no-untyped-call]
        return sum(1 for _ in parser)


def prepare_shards(source: Path, folder: Path, workers: int, codec: str) -> int:
    """The whole way to a finished folder; the number of proteins that take part."""
    with _inflating_with(codec):
        manifest = prepare([str(source)], folder, PREPARATION, workers=workers)
    return sum(split["proteins"] for split in manifest["splits"].values())


@contextmanager
def _inflating_with(codec: str) -> Iterator[None]:
    """Hide `isal` where zlib is asked for: None among the modules makes its import fail."""
    if codec == ISAL:
        yield
        return
    before = {name: module for name, module in sys.modules.items() if name == "isal"}
    sys.modules["isal"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["isal"]
        sys.modules.update(before)
