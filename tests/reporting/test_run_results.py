"""Published runs: the file of a sweep, and the tables that documents show of it."""

import json
import math
import subprocess
from statistics import mean, stdev

import pytest
from runs import ROOT

from protein_performer.cli import main
from protein_performer.reporting import results
from protein_performer.reporting.run_results import table, with_tables
from protein_performer.reporting.status import Status, write_status
from protein_performer.reporting.tables import write_metrics

DOCUMENTS = [ROOT / "README.md", ROOT / "docs" / "paper.md"]
PERPLEXITIES = (16.0, 17.0, 19.0)  # of three seeds


def finished(folder, model, seed, perplexity, *, state="finished"):
    folder.mkdir()
    (folder / "config.yaml").write_text(f"model: {{name: {model}}}\nobjective: {{name: mlm}}\n")
    overrides = [f"model={model}", f"seed={seed}", "trainer.max_steps=5", "hydra.run.dir=here"]
    write_status(folder, Status(state, "", overrides, f"c0de{seed}"))
    if state != "finished":
        return
    metrics = {"model/name": model, "objective": "mlm", "seed": seed, "train/steps": 5}
    metrics |= {"train/seconds": 10.0, "train/residues": 5000, "model/parameters": 7}
    for name in ("test", "ood"):
        metrics |= {f"{name}/accuracy": 0.1, f"{name}/perplexity": perplexity}
        metrics |= {f"{name}/empirical_accuracy": 0.09, f"{name}/empirical_perplexity": 20.0}
        metrics |= {f"{name}/ngram_accuracy": 0.12, f"{name}/ngram_perplexity": 18.0}
        metrics |= {f"{name}/ngram_order": 3, f"{name}/residues": 11}
    write_metrics(folder, metrics)


@pytest.fixture
def published(tmp_path):
    for seed, perplexity in enumerate(PERPLEXITIES):
        finished(tmp_path / f"ours{seed}", "ours", seed, perplexity)
        finished(tmp_path / f"other{seed}", "other", seed, 18.0)
    out = tmp_path / "published.json"
    runs = sorted(map(str, tmp_path.glob("o*")))
    assert main(["compare", *runs, "--out", str(out)]) == 0
    return json.loads(out.read_text())


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_the_tables_of_documents_are_those_of_the_results(path):
    text = path.read_text()
    assert "<!-- end of results/" in text
    assert with_tables(text, ROOT) == text, f"run: protein-performer document {path.name}"


def test_a_sweep_is_published_with_the_command_that_does_it_again(published):
    command = "python train.py -m model=other,ours seed=0,1,2 trainer.max_steps=5"
    assert published["command"] == command
    assert published["seed"] == [0, 1, 2]
    assert published["seconds"] == 60
    assert published["machine"]
    assert published["commits"] == ["c0de0", "c0de1", "c0de2"]  # of the runs, not of today
    assert len(published["runs"]) == 6


def test_rows_have_intervals_over_seeds(published):
    row = next(line for line in table(published).splitlines() if "`ours`" in line)
    half_width = 4.303 * stdev(PERPLEXITIES) / math.sqrt(3)  # Student's t, two degrees of freedom
    assert f"{mean(PERPLEXITIES):.2f} ± {half_width:.2f}" in row
    assert row.endswith("| 10 | 500 |")
    assert "| 18.00 | 0.900 |" in table(published)  # equal figures have no interval


def test_a_document_gets_its_tables(published, tmp_path, capsys):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "a.json").write_text(json.dumps(published))
    document = tmp_path / "page.md"
    place = "before\n<!-- results/a.json -->\nold\n<!-- end of results/a.json -->\nafter\n"
    document.write_text(place)
    for said in ("changed", "as it was"):
        assert main(["document", str(document), "--root", str(tmp_path)]) == 0
        assert capsys.readouterr().out == f"{document}: {said}\n"
    text = document.read_text()
    assert "old" not in text
    assert text.startswith("before\n<!-- results/a.json -->\n\n| model |")
    assert text.endswith("|\n\n<!-- end of results/a.json -->\nafter\n")


def test_a_run_without_results_is_not_published(tmp_path, capsys):
    finished(tmp_path / "broken", "ours", 0, 1.0, state="failed")
    assert main(["compare", str(tmp_path / "broken"), "--out", str(tmp_path / "a.json")]) == 1
    assert "expected a finished run, found one that failed" in capsys.readouterr().err
    assert not (tmp_path / "a.json").exists()


def test_a_result_that_is_missing_is_named(tmp_path, capsys):
    document = tmp_path / "page.md"
    document.write_text("<!-- no.json -->\n<!-- end of no.json -->\n")
    assert main(["document", str(document), "--root", str(tmp_path)]) == 1
    assert "no.json: expected a published result" in capsys.readouterr().err


def test_a_package_inside_another_repository_is_not_of_its_commit(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    user = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    commit = ["git", *user, "commit", "-q", "--allow-empty", "-m", "theirs"]
    subprocess.run(commit, cwd=tmp_path, check=True)
    package = tmp_path / ".venv" / "protein_performer" / "reporting"
    package.mkdir(parents=True)
    monkeypatch.setattr(results, "__file__", str(package / "results.py"))
    assert results.commit() is None
    monkeypatch.setattr(results, "__file__", str(tmp_path / "a" / "b" / "results.py"))
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert results.commit()
