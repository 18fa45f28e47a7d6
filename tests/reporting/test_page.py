"""Folders of runs to one page: what is put together, and what stands in it."""

import json
import math
import re
from statistics import mean, stdev

import pytest
import yaml

from protein_performer.cli import main
from protein_performer.errors import UserError
from protein_performer.reporting.runs import config_differences, group_runs, read_runs
from protein_performer.reporting.status import Status, write_status

PERPLEXITIES = {"performer_relu": (17.0, 17.2, 17.7), "transformer": (16.9, 16.8, 17.0)}


def write_run(folder, model, seed, perplexity):
    """A finished run's folder."""
    folder.mkdir(parents=True)
    config = {"model": {"name": model}, "objective": {"name": "mlm"}, "seed": seed}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    overrides = [f"model={model}", f"seed={seed}", "size=tiny"]
    write_status(folder, Status("finished", overrides=overrides))
    metrics = {"model/name": model, "objective": "mlm", "seed": seed, "model/parameters": 1000}
    metrics |= {"train/steps": 4, "train/seconds": 2.0, "train/residues": 500}
    for name in ("test", "ood"):
        metrics |= {f"{name}/accuracy": 0.1, f"{name}/perplexity": perplexity}
        metrics |= {f"{name}/empirical_accuracy": 0.09, f"{name}/empirical_perplexity": 18.0}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "letters.json").write_text(json.dumps({"test": {"A": [10, 4], "C": [5, 0]}}))
    (folder / "metrics.csv").write_text(
        "step,train/loss,train/residues,train/seconds,val/perplexity\n"
        "0,3.0,100,0.5,\n1,2.9,200,1.0,18.5\n3,2.8,400,2.0,17.5\n4,,,,17.5\n"
    )


@pytest.fixture
def sweep(tmp_path):
    number = 0
    for model, values in PERPLEXITIES.items():
        for seed, perplexity in enumerate(values):
            write_run(tmp_path / "sweep" / f"{number}_{model}", model, seed, perplexity)
            number += 1
    skipped = tmp_path / "sweep" / "9_linformer"
    skipped.mkdir()
    write_status(skipped, Status("skipped", "no causal form <b>", ["model=linformer", "seed=0"]))
    return tmp_path / "sweep"


def test_seeds_of_a_setting_are_one_group_with_students_interval(sweep):
    groups = group_runs(read_runs([sweep]))
    assert [group.model for group in groups] == ["performer_relu", "transformer", "linformer"]
    assert [len(group.runs) for group in groups] == [3, 3, 1]
    values = PERPLEXITIES["performer_relu"]
    interval = groups[0].interval("test/perplexity")
    assert interval.mean == pytest.approx(mean(values))
    # t(0.975, 2 degrees of freedom) = 4.3027
    assert interval.half_width == pytest.approx(4.3027 * stdev(values) / math.sqrt(3), rel=1e-4)
    assert groups[2].interval("test/perplexity") is None


def test_only_what_differs_is_a_setting_or_a_difference(sweep):
    runs = read_runs([sweep])
    assert group_runs(runs[:6])[0].label == "performer_relu, mlm"
    assert list(config_differences(runs[:6])) == ["model.name", "seed"]
    assert config_differences(runs[:1] * 2) == {}


def test_a_curve_ends_with_training(sweep):
    """What is logged behind it is the best checkpoint once more."""
    run = read_runs([sweep])[0]
    assert run.curve("val/perplexity") == [(1, 18.5), (3, 17.5), (4, 17.5)]
    assert run.training_curve("val/perplexity") == [(1, 18.5), (3, 17.5)]


def charts_of(page):
    found = re.findall(r'<script type="application/json" data-chart="(\w+)">(.*?)</script>', page)
    return {name: json.loads(text) for name, text in found}


def test_the_page_has_all_of_it_in_one_file(sweep, capsys):
    out = sweep.parent / "page.html"
    assert main(["report", str(sweep), "-o", str(out), "--title", "Two <kernels>"]) == 0
    assert "7 runs" in capsys.readouterr().out
    page = out.read_text()
    assert "Two &lt;kernels&gt;" in page
    assert "no causal form &lt;b&gt;" in page
    assert not re.search(r'<(script|link|img)[^>]*(src|href)="?(https?:)?//', page)
    body = page[page.index("<tbody>") : page.index("</tbody>")]
    rows = re.findall(r"<tr.*?</tr>", body)
    assert len(rows) == 3 + 1 + 4  # groups, baseline, the paper's rows of this objective
    assert sum('class="paper"' in row for row in rows) == 4
    assert "36.09" in body
    assert "17.300 ± 0.9" in body
    assert "python train.py model=transformer seed=2 size=tiny" in page


def test_its_charts_are_of_the_files(sweep):
    out = sweep.parent / "page.html"
    main(["report", str(sweep), "-o", str(out)])
    charts = charts_of(out.read_text())
    assert set(charts) == {"val", "loss", "sets", "letters", "cost"}
    loss = charts["loss"]
    assert loss["data"][0]["y"] == [3.0, 2.9, 2.8]
    assert loss["axes"]["steps"][0] == [1, 2, 4]
    assert loss["axes"]["residues"][0] == [100, 200, 400]
    assert loss["axes"]["seconds"][0] == [0.5, 1.0, 2.0]
    assert charts["letters"]["data"][0]["y"] == [40, 0]


def test_folders_without_a_run_are_an_error(tmp_path):
    with pytest.raises(UserError, match="expected folders of runs"):
        read_runs([tmp_path])
