"""The fast path against Biopython with Python's own decoding, on mutated files.

`FASTA_FUZZ=100000 pytest tests/data/reading/test_fasta_differential.py` runs ten times as many.
"""

import gzip
import io
import os
import random
import zlib
from collections.abc import Callable, Iterator

import pytest
from data.reading.biopython_fasta import parse_with_biopython

from protein_performer.data.reading import text_blocks
from protein_performer.data.reading.columns import parse_columns, parse_records
from protein_performer.data.reading.compression import gunzip
from protein_performer.data.reading.fasta import split_title
from protein_performer.data.reading.record import ReadCounts, Record
from protein_performer.data.reading.text_blocks import TextBlock, cut_blocks
from protein_performer.errors import UserError

FILES = int(os.environ.get("FASTA_FUZZ", "10000"))
PIECES = [
    *(b"\n", b"\r", b"\r\n", b"\n\n", b">", b"\n>", b"\n>\n", b">|", b"|", b" ", b"\t", b"\0"),
    *(
        b"@",
        b"*",
        b"x",
        b"\xe9",
        b"\xc3\xa9",
        b"\xa0",
        b"\x85",
        b"\x1c",
        b"\x0b",
        b"\n \n",
        b"\n> ",
    ),
]
HEADERS = [
    *(">r{0} text", ">r{0}", ">sp|A{0}|A{0}_TEST"),
    *(">sp|P1234{0}|X_TEST Protein {0} OS=Test", ">tr|A0A0B1C2D{0}|A0A0B1C2D{0}_TEST Protein"),
]
Outcome = tuple[list[Record], str, ReadCounts]


def outcome(reading: Iterator[Record], counts: ReadCounts) -> Outcome:
    """All that can be told from outside: records until an error, the error, what was counted."""
    records: list[Record] = []
    try:
        for record in reading:
            records.append(record)  # one by one: those before an error count too
    except UserError as error:
        return records, str(error), counts
    return records, "", counts


def base_file(rng: random.Random) -> bytes:
    lines = []
    at_least = rng.choice([0, 3])  # half of the files are UniProt's alone
    for number in range(rng.randint(1, 8)):
        header = rng.choice(HEADERS[at_least:])
        lines.append(header.format(number))
        residues = "".join(rng.choices("ACDEFGHIKLMNPQRSTVWY", k=rng.randint(1, 40)))
        lines.extend(residues[at : at + 12] for at in range(0, len(residues), 12))
    return ("\n".join(lines) + "\n").encode()


def mutate(content: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.choice([0, 1, 1, 2, 3])):
        at = rng.randint(0, len(content))
        end = min(len(content), at + rng.choice([0, 0, 1, 5, 30]))
        content = content[:at] + rng.choice([b"", *PIECES]) + content[end:]
    whole = {0: lambda text: text.replace(b"\n", b"\r\n"), 1: lambda text: text.rstrip(b"\n")}
    change: Callable[[bytes], bytes] = whole.get(rng.randrange(8), lambda text: text)
    return change(content)


def in_chunks(content: bytes, rng: random.Random) -> Iterator[bytes]:
    size = rng.choice([1, 2, 7, 50, 1000])
    return (content[at : at + size] for at in range(0, len(content), size))


def failing(chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield from chunks
    raise UserError("the stream failed")


def reference_lines(content: bytes, *, fails: bool) -> Iterator[str]:
    whole = content.removesuffix(b"\r") if fails else content
    for line in io.TextIOWrapper(io.BytesIO(whole), encoding="latin-1"):
        if fails and not line.endswith("\n") and not line.startswith(">"):
            break  # a line that may go on; of a header the first letter ends the record before it
        yield line
    if fails:
        raise UserError("the stream failed")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a record or two, so that small files have many of them."""
    monkeypatch.setattr(text_blocks, "_AT_LEAST", 40)


def test_fast_path_agrees_with_biopython_on_mutated_files() -> None:
    faults, sound = set(), 0
    for seed in range(FILES):
        rng = random.Random(seed)
        content, fails = mutate(base_file(rng), rng), rng.random() < 0.1
        counts = ReadCounts()
        expected = outcome(
            parse_with_biopython(reference_lines(content, fails=fails), "f.fasta", counts),
            counts,
        )
        chunks = in_chunks(content, rng)
        counts = ReadCounts()
        cut = cut_blocks(failing(chunks) if fails else chunks, "f.fasta")
        reading = (record for block in cut for record in parse_records(block, counts))
        assert outcome(reading, counts) == expected, f"seed {seed}: {content!r}"
        faults.add(expected[1].partition(": ")[2][:40])
        sound += not expected[1]
    assert len(faults) > 8  # the mutations reach the faults ...
    assert sound > FILES / 4  # ... and leave sound files too


def test_columns_are_the_records() -> None:
    for seed in range(1000):
        rng = random.Random(seed)
        content = mutate(base_file(rng), rng)
        try:
            cut = list(cut_blocks(in_chunks(content, rng), "f.fasta"))
            records = [list(parse_records(block, ReadCounts())) for block in cut]
        except UserError:
            continue
        for block, expected in zip(cut, records, strict=True):
            columns = parse_columns(block, ReadCounts())
            ends = columns.lengths.cumsum().tolist()
            sequences = [
                columns.residues[end - length : end].decode("latin-1")
                for end, length in zip(ends, columns.lengths.tolist(), strict=True)
            ]
            assert columns.accessions == [record.accession for record in expected]
            assert sequences == [record.sequence for record in expected]
            assert len(columns.residues) == columns.lengths.sum()


def inflate(chunks: Iterator[bytes]) -> tuple[bytes, str]:
    got = b""
    try:
        for inflated in gunzip(chunks, "f.gz"):
            got += inflated
    except UserError as error:
        return got, str(error)
    return got, ""


@pytest.mark.parametrize(
    "title",
    [
        *(
            "sp|P12345|X_TEST",
            "tr|A0A0B1C2D3|X_TEST",
            "sp|P 2345|X",
            "sp|P12|45|X",
            "sp|P1234567|X",
        ),
        *(
            "sp|P12345",
            "sp|P1234",
            "sp|A0A0B1C2D",
            "|p|P12345|X",
            "s |P12345|X",
            "sp||12345|X",
            "s",
        ),
    ],
)
def test_columns_read_every_title_as_records_do(title: str) -> None:
    for text in (f">{title}\n|MKT\n", f">{title}\nMKT\n>sp|P12345|X_TEST\nMKT\n"):
        block = TextBlock(text.encode(), "fasta", "f.fasta", 1)
        names = [record.accession for record in parse_records(block, ReadCounts())]
        assert parse_columns(block, ReadCounts()).accessions == names
        assert names[0] == split_title(title)[0]


@pytest.mark.parametrize("level", [0, 1, 9])
def test_gunzip_agrees_with_python_gzip_on_mutated_bytes(level: int) -> None:
    kinds = set()
    for seed in range(FILES // 10):
        rng = random.Random(seed)
        content = base_file(rng) * 3
        half = len(content) // 2
        packed = bytearray(gzip.compress(content[:half], level) + gzip.compress(content[half:]))
        action = rng.randrange(3)
        if action == 0:
            del packed[rng.randrange(1, len(packed)) :]
        elif action == 1:
            packed[rng.randrange(len(packed))] ^= 1 << rng.randrange(8)
        try:
            expected = gzip.decompress(bytes(packed))
            error = ""
        except EOFError:
            expected, error = b"", "truncated"
        except (gzip.BadGzipFile, zlib.error):
            expected, error = b"", "corrupt"
        got, refusal = inflate(in_chunks(bytes(packed), rng))
        if not refusal:
            assert (got, error) == (expected, ""), f"seed {seed}"
        elif action == 0:
            assert error  # "corrupt" in the words of gzip if a single byte of a header is left
            assert "truncated" in refusal
            assert content.startswith(got)
        else:  # zlib also refuses reserved header flags, which Python's gzip does not look at
            assert action == 1, f"seed {seed}: {refusal}"
        kinds.add(error)
    assert kinds == {"", "truncated", "corrupt"}


def test_a_small_gzip_file_cannot_fill_the_memory() -> None:
    content = b"A" * 20_000_000
    packed = gzip.compress(content)
    assert len(packed) < 20_000
    pieces = list(gunzip(iter([packed]), "f.gz"))
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) <= 1 << 21
