"""A preparation that is killed goes on, and what comes out is the same, byte for byte."""

import json
import logging
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from data.made_up import sequences, write_clusters, write_fasta

from protein_performer.alphabet import Alphabet
from protein_performer.data.manifest import is_prepared
from protein_performer.data.preparing.pipeline import prepare
from protein_performer.data.preparing.preprocessing import ProteinPreprocessing
from protein_performer.data.splits import SplitRule

# Every bundle is small and is committed, so that a kill comes in the middle. Without torch.
PROGRAM = """
import sys
from pathlib import Path
from protein_performer.alphabet import Alphabet
from protein_performer.data.preparing import tokenizer
from protein_performer.data.reading import sources, text_blocks
from protein_performer.data.preparing.pipeline import prepare
from protein_performer.data.preparing.preprocessing import ProteinPreprocessing
from protein_performer.data.splits import SplitRule
sources.CHUNK, text_blocks._AT_LEAST, tokenizer._BUNDLE = 1_000, 1_000, 1_000
if __name__ == "__main__":
    names, out, workers = sys.argv[1].split(","), Path(sys.argv[2]), int(sys.argv[3])
    rule = SplitRule(0.1, 0.1, ood=0.1, clusters=str(out.parent / "clusters.tsv"))
    how = ProteinPreprocessing(Alphabet(), "error", rule, shard_proteins=100)
    prepare(names, out, how, workers=workers, commit_seconds=0)
"""


@pytest.fixture
def in_small_pieces(monkeypatch):
    """Many bundles from a small source, as in the program above."""
    monkeypatch.setattr("protein_performer.data.reading.sources.CHUNK", 1_000)
    monkeypatch.setattr("protein_performer.data.reading.text_blocks._AT_LEAST", 1_000)
    monkeypatch.setattr("protein_performer.data.preparing.tokenizer._BUNDLE", 5_000)


def how(folder):
    rule = SplitRule(0.1, 0.1, ood=0.1, clusters=str(folder / "clusters.tsv"))
    return ProteinPreprocessing(Alphabet(), "error", rule, shard_proteins=100)


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def make_sources(folder):
    """Two files with copies within and across, and a table of clusters."""
    write_clusters(folder / "clusters.tsv", 2_000)
    proteins = sequences(1_500, longest=120)
    first = write_fasta(folder / "a.fasta", proteins)
    second = write_fasta(folder / "b.fasta", proteins[:300] + sequences(200, seed=9), prefix="Q")
    return [str(first), str(second)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of the sources, their names, and the files of an uninterrupted preparation."""
    folder = tmp_path_factory.mktemp("whole")
    sources = make_sources(folder)
    prepare(sources, folder / "out", how(folder))
    return folder, sources, files_of(folder / "out")


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_changes_nothing(whole, workers, in_small_pieces):
    folder, sources, expected = whole
    prepare(sources, folder / f"by_{workers}", how(folder), workers=workers)
    assert files_of(folder / f"by_{workers}") == expected


class Stop(Exception):
    pass


def test_stopped_after_every_bundle_it_goes_on_to_the_same_bytes(
    whole, in_small_pieces, monkeypatch
):
    """Also with other sizes of bundles each time."""
    folder, sources, expected = whole
    out, sizes = folder / "stopped", random.Random(0)
    for attempt in range(200):  # noqa: B007
        monkeypatch.setattr(
            "protein_performer.data.preparing.tokenizer._BUNDLE", sizes.randint(1, 9_000)
        )
        told = []

        def stop(done, total, records, told=told):
            told.append(records)
            if len(told) == 2:
                raise Stop

        try:
            prepare(sources, out, how(folder), on_progress=stop, commit_seconds=0)
            break
        except Stop:
            assert not out.exists()
            journal = json.loads((folder / ".stopped.partial" / "journal.json").read_text())
            assert journal["progress"]["read"]["records"] == told[-1]
    assert attempt > 10
    assert files_of(out) == expected


def kill_and_go_on(folder, sources, out, moments, workers):
    """Kill the program after so many seconds, once for each; then let it end."""
    command = [sys.executable, "-c", PROGRAM, ",".join(sources), str(out), str(workers)]
    killed = 0
    for moment in [*moments, None]:
        process = subprocess.Popen(command)
        partial = out.with_name(f".{out.name}.partial")
        while moment is not None and process.poll() is None and not partial.exists():
            time.sleep(0.002)  # importing takes longer than all the rest
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
            assert not out.exists() or is_prepared(out)
    assert process.returncode == 0
    return killed


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_at_random_moments_it_goes_on_to_the_same_bytes(whole, workers):
    folder, sources, expected = whole
    moments = [0.1 * random.Random(workers + i).random() for i in range(2)]
    out = folder / f"killed_{workers}"
    assert kill_and_go_on(folder, sources, out, moments, workers) >= 1
    assert files_of(out) == expected
    assert not out.with_name(f".{out.name}.partial").exists()


def test_what_was_begun_otherwise_is_begun_anew(whole, in_small_pieces):
    folder, sources, expected = whole

    def stop(done, total, records):
        if records > 400:
            raise Stop

    with pytest.raises(Stop):
        prepare(sources[::-1], folder / "anew", how(folder), on_progress=stop, commit_seconds=0)
    prepare(sources, folder / "anew", how(folder))
    assert files_of(folder / "anew") == expected


def test_two_at_once_make_one_folder(whole):
    folder, sources, expected = whole
    out = folder / "shared"
    command = [sys.executable, "-c", PROGRAM, ",".join(sources), str(out), "0"]
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert files_of(out) == expected


@pytest.fixture
def broken_off(whole, in_small_pieces):
    """A preparation that was stopped midway: its folder, and the function that goes on with it."""
    folder, sources, expected = whole
    out = folder / "broken_off"

    def stop(done, total, records):
        if records > 900:
            raise Stop

    with pytest.raises(Stop):
        prepare(sources, out, how(folder), on_progress=stop, commit_seconds=0)
    growing = out.with_name(f".{out.name}.partial")

    def go_on():
        prepare(sources, out, how(folder), commit_seconds=0)
        assert files_of(out) == expected

    yield growing, go_on
    shutil.rmtree(out)


def damage(path, how):
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "flipped":
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    else:
        path.unlink()


@pytest.mark.parametrize("kind", ["truncated", "flipped", "missing"])
@pytest.mark.parametrize(
    "name",
    ["journal.json", "digests", "train/00000.tokens", "train/00001.offsets", "val/00000.tokens"],
)
def test_a_damaged_folder_is_not_gone_on_with(broken_off, caplog, name, kind):
    growing, go_on = broken_off
    assert (growing / "train" / "00002.tokens").exists()  # so that 00000 is finished
    damage(growing / name, kind)
    with caplog.at_level(logging.WARNING):
        go_on()
    if (name, kind) != ("journal.json", "missing"):
        assert "begun anew, since it is damaged" in caplog.text


def test_a_link_in_the_folders_place_is_not_written_through(whole, tmp_path):
    folder, sources, expected = whole
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "file").write_text("mine")
    (tmp_path / ".out.partial").symlink_to(tmp_path / "victim")
    prepare(sources, tmp_path / "out", how(folder))
    assert files_of(tmp_path / "out") == expected
    assert files_of(tmp_path / "victim") == {"file": b"mine"}
