"""A run on plain text, from folders of books to figures per byte."""

import json
import math

import pytest
from hydra import compose, initialize_config_dir
from made_up_books import write_books
from runs import ROOT, SMALL

import protein_performer as pp
from protein_performer.cli import main
from train import train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The books, the run's folder and its metrics."""
    folder = tmp_path_factory.mktemp("text")
    books = write_books(folder / "library", count=12)
    small = [each for each in SMALL if not each.startswith("data.splits")]
    text = ["data=text", "objective=causal", f"data.sources=[{folder / 'library'}]"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("train", [*small, *text, f"run_dir={folder / 'run'}"])
    return books, folder / "run", train(cfg)


def test_its_figures_are_of_bytes_and_say_so(run):
    books, run_dir, metrics = run
    assert json.loads((run_dir / "metrics.json").read_text()) == metrics
    assert not any("residue" in name for name in metrics)
    tested = "".join(text for path, text in books.items() if path.startswith("test")).encode()
    assert metrics["test/bytes"] == len(tested)
    assert metrics["test/bits_per_byte"] == pytest.approx(math.log2(metrics["test/perplexity"]))
    assert metrics["test/bits_per_byte"] < 8
    assert metrics["train/bytes"] > 0
    trained = "".join(text for path, text in books.items() if path.startswith("train")).encode()
    smoothed = [trained.count(byte) + 1 for byte in range(256)]
    total = sum(smoothed) - 13  # bytes that UTF-8 has not
    nll = -sum(math.log(smoothed[byte] / total) for byte in tested)
    assert metrics["test/empirical_perplexity"] == pytest.approx(math.exp(nll / len(tested)))
    assert metrics["test/ngram_order"] in (1, 2, 3)
    assert metrics["test/ngram_perplexity"] < metrics["test/empirical_perplexity"]
    assert (run_dir / "figures" / "test_confusion.png").stat().st_size > 10_000


def test_its_checkpoint_reads_text(run):
    lm = pp.load(run[1] / "checkpoints" / "best.ckpt", device="cpu")
    logits = lm.logits(["Call me Ishmaël"])[0]
    assert logits.shape == (len("Call me Ishmaël".encode()), len(lm.alphabet))
    assert lm.embed(["whale", "鯨"]).shape == (2, lm.width)


@pytest.mark.parametrize("verb", [["evaluate"], ["embed"]])
def test_what_reads_files_of_proteins_refuses_it(run, tmp_path, verb, capsys):
    (tmp_path / "a.fasta").write_text(">a\nMKTAYIAK\n")
    words = [*verb, str(run[1] / "checkpoints" / "best.ckpt"), str(tmp_path / "a.fasta")]
    assert main([*words, *([str(tmp_path / "a.h5")] if verb == ["embed"] else [])]) == 1
    assert "expected a model of proteins, got one of text" in capsys.readouterr().err
    assert not (tmp_path / "a.h5").exists()


def test_the_table_has_bits_per_byte_and_runs_compare(run, capsys):
    assert main(["compare", str(run[1])]) == 0
    told = capsys.readouterr().out
    assert "bytes/s" in told
    assert "residues/s" not in told
