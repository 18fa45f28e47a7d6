"""A kind of source in a package of the user's own: one function and one config."""

import csv
import json
import os
import subprocess
import sys

from runs import ROOT, SMALL, write_proteins

LAB = ROOT / "tests" / "my_lab"
# Those of a small run that the lab's config has itself.
OWN = ("data.splits.ood=", "data.splits.clusters=")


def test_it_trains_from_the_labs_own_table(tmp_path):
    records = write_proteins(tmp_path).read_text().split(">")[1:]
    with (tmp_path / "clones.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "protein"])
        for record in records:
            header, _, sequence = record.partition("\n")
            table.writerow([header.split("|")[1], sequence.replace("\n", "")])
    command = [
        *(sys.executable, ROOT / "train.py", "--config-dir", LAB / "conf", "data=lab_table"),
        *(each for each in SMALL if not each.startswith(OWN)),
        *("data.download.table=clones.csv", "trainer.max_steps=2"),
        f"hydra.run.dir={tmp_path / 'run'}",
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(LAB.parent), str(ROOT)])}
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["train/steps"] == 2
    (manifest,) = (tmp_path / "logs" / "lab_table").glob("prepared/*/manifest.json")
    splits = json.loads(manifest.read_text())["splits"].values()
    assert 0.9 * len(records) < sum(split["proteins"] for split in splits) <= len(records)
