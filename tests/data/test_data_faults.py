"""Faults of the data, met in training: one message, as a user of train.py sees it."""

import gzip
import os
import re
import sys

import pytest
from runs import ROOT, SMALL, write_proteins

from protein_performer.cli import main as run_verb
from protein_performer.data.reading import sources
from train import main

HEAD = ("data.mode=stream", "data.buffer=32", "data.head=150")


def corrupt(text):
    packed = bytearray(gzip.compress(text.encode()))
    packed[-3_000:-2_900] = bytes(100)
    return bytes(packed)


def truncated(text):
    return gzip.compress(text.encode())[:-3_000]


def odd(text):
    return f"{text}>tr|ODD|\nMKT*LL\n".encode()


def fastq(text):
    return b"@read0\nACGT\n+\nIIII\n" * 400


def last_words(options, tmp_path, monkeypatch, capfd):
    """Train, and see what the run ends with."""
    # As for a script: else Hydra looks for a package of configs.
    monkeypatch.setattr(main.__wrapped__, "__module__", "__main__")
    monkeypatch.chdir(ROOT)
    last = ["trainer.max_steps=99", f"hydra.run.dir={tmp_path}/run"]
    monkeypatch.setattr(sys, "argv", ["train.py", *SMALL, *options, *last])
    with pytest.raises(SystemExit) as end:
        main()
    told, printed = str(end.value.code), capfd.readouterr()
    assert "\n" not in told
    assert "Traceback" not in printed.out + printed.err
    return told


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("fault", "name", "message"),
    [
        (corrupt, "proteins.fasta.gz", "expected gzip data, got corrupt ones.* fetch it again"),
        (truncated, "proteins.fasta.gz", "the file is truncated.* Fetch it again"),
        (
            odd,
            "proteins.fasta",
            r"proteins\.fasta, line [\d,]+: record ODD: .*'\*' at position 4.*'skip' leaves it out",
        ),
        (fastq, "reads.fasta", "line 1: .*This looks like FASTQ"),
    ],
)
def test_a_fault_is_one_message(tmp_path, monkeypatch, capfd, fault, name, message, workers):
    path = tmp_path / "faulty" / name
    path.parent.mkdir()
    path.write_bytes(fault(write_proteins(tmp_path).read_text()))
    monkeypatch.setattr(sources, "CHUNK", 4_000)  # as if the file were large
    options = [*HEAD, f"data.sources=[{path}]", f"data.num_workers={workers}"]
    told = last_words(options, tmp_path, monkeypatch, capfd)
    assert told.startswith(f"error: {path}")
    assert re.search(message, told)
    begun = "training reads the sources" in (tmp_path / "run" / "train.log").read_text()
    assert begun == (fault is not fastq)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_shard_is_one_message(tmp_path, monkeypatch, capfd, workers):
    folder = tmp_path / "prepared"
    assert run_verb(["prepare", str(write_proteins(tmp_path)), str(folder)]) == 0
    damaged = folder / "train" / "00000.tokens"
    os.truncate(damaged, 1000)
    options = [f"data.prepared={folder}", f"data.num_workers={workers}"]
    told = last_words(options, tmp_path, monkeypatch, capfd)
    assert re.search(rf"error: {damaged}: damaged .its checksum.*prepare again", told)
