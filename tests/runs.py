"""Small runs of train.py on a few real proteins, for tests of the whole."""

import csv
import gzip
import sys
from itertools import islice
from pathlib import Path

from hydra import compose, initialize_config_dir

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "data" / "trembl_sample.fasta.gz"
CLUSTERS = ROOT / "data" / "trembl_sample_clusters.tsv.gz"

sys.path.insert(0, str(ROOT))  # for train.py, which is a script and no package

SMALL = (
    "data.max_length=64",
    "data.batch_tokens=2048",
    "data.splits.val=0.1",
    "data.splits.test=0.1",
    "data.splits.ood=0.1",
    f"data.splits.clusters={CLUSTERS}",
    "size=tiny",
    "trainer.max_steps=6",
    "trainer.log_every_n_steps=1",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
    "callbacks.progress=null",
    "logger=csv",
)


def write_proteins(folder, count=400):
    """The first proteins of the sample, in a FASTA file of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "proteins.fasta"
    with gzip.open(SAMPLE, "rt") as lines:
        records = "".join(lines).split("\n>")
    path.write_text("\n>".join(islice(records, count)) + "\n")
    return path


def compose_run(run_dir, fasta, *overrides):
    """The config of a small run."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose(
            "train", [*SMALL, f"run_dir={run_dir}", f"data.sources=[{fasta}]", *overrides]
        )


def losses(run_dir):
    """Training's loss by step."""
    with open(run_dir / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    found = [(int(row["step"]), float(row["train/loss"])) for row in rows if row["train/loss"]]
    assert len(dict(found)) == len(found)  # no step twice
    return dict(found)
