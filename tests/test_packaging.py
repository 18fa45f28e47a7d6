"""What a user gets who has no checkout: a wheel that trains, and dependencies that are declared."""

import ast
import json
import os
import subprocess
import sys
import zipfile
from importlib.metadata import PathDistribution, packages_distributions
from pathlib import Path

import pytest
import yaml
from runs import CLUSTERS, ROOT, SAMPLE, SMALL, write_proteins

# Imported where an extra was installed.
EXTRAS_ONLY = {"isal", "fsspec", "aiohttp", "pyarrow", "jinja2", "plotly"}
EXTRAS_ONLY |= {"safetensors", "tokenizers", "transformers", "huggingface_hub", "sklearn"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel, unpacked as pip would."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def run(installed, cwd, *words):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "protein_performer", *words]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def test_a_wheel_trains_outside_the_checkout(installed, tmp_path):
    """With the configs that it brings, in a folder that holds nothing but proteins."""
    fasta = write_proteins(tmp_path / "mine")
    words = [*SMALL, f"data.sources=[{fasta}]", f"hydra.run.dir={tmp_path / 'run'}"]
    done = run(installed, tmp_path, "train", *words)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["train/steps"] == 6


def test_without_data_of_ones_own_it_is_the_sample_that_a_wheel_brings(installed, tmp_path):
    """Shown, not trained on."""
    done = run(installed, tmp_path, "train", "--cfg", "job", "--package", "data")
    config = yaml.safe_load(done.stdout.partition("\n")[2])
    (source,) = config["sources"]
    assert Path(source).read_bytes() == SAMPLE.read_bytes()
    assert Path(config["splits"]["clusters"]).read_bytes() == CLUSTERS.read_bytes()
    assert config["cache_dir"] == "logs/prepared"
    own = run(installed, tmp_path, "train", "--cfg", "job", "data=concat").stdout
    assert yaml.safe_load(own)["data"]["sources"] == ["data/trembl_sample.fasta.gz"]


def test_a_wheel_lists_the_choices_of_training(installed, tmp_path):
    told = run(installed, tmp_path, "train", "--help").stdout
    models = [path.stem for path in (ROOT / "conf" / "model").glob("*.yaml")]
    assert all(model in told for model in models)


def test_a_wheel_has_no_benchmarks_and_says_that_it_is_typed(installed):
    files = {str(path.relative_to(installed)) for path in installed.rglob("*")}
    assert "protein_performer/py.typed" in files
    assert {each.split("/")[0].split("-")[0] for each in files} == {"protein_performer"}


def test_what_is_imported_is_declared(installed):
    (metadata,) = installed.glob("*.dist-info")
    required = [each.split(";") for each in PathDistribution(metadata).requires]
    declared = {
        each[0].strip().split("[")[0].split("<")[0].split(">")[0].split("=")[0].lower()
        for each in required
        if "extra" not in each[-1]
    }
    distributions = packages_distributions()
    for path in [*(ROOT / "protein_performer").rglob("*.py"), ROOT / "train.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in {each.partition(".")[0] for each in names} - EXTRAS_ONLY:
                if name in ("protein_performer", *sys.stdlib_module_names):
                    continue
                found = {each.lower().replace("_", "-") for each in distributions[name]}
                assert found & {each.replace("_", "-") for each in declared}, f"{path}: {name}"


def test_the_workflow_calls_what_a_new_user_calls():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert any(step.get("run") == ".ci/run" for step in steps)


def test_the_image_copies_what_a_wheel_is_made_of():
    lines = Path(ROOT / "Dockerfile").read_text().splitlines()
    copied = {word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]}
    assert {"pyproject.toml", "README.md", "LICENSE", "train.py"} <= copied
    assert {"protein_performer", "conf", "data"} <= copied
    assert all((ROOT / each).exists() for each in copied)
