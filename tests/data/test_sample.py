"""The shipped sample: its README's figures, and the config that trains on it."""

import io
import re
import shutil
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

ROOT = Path(__file__).parents[2]
README = (ROOT / "data" / "README.md").read_text()


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """A folder with the shipped files in its data/, so that what is prepared is thrown away."""
    folder = tmp_path_factory.mktemp("sample")
    (folder / "data").mkdir()
    for path in (ROOT / "data").glob("trembl_sample*"):
        shutil.copy(path, folder / "data")
    return folder


def run_readme(folder, monkeypatch):
    """The README's program: what it prints, and its data module."""
    monkeypatch.chdir(folder)
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names, printed = {}, io.StringIO()
    with redirect_stdout(printed):
        exec(program, names)
    return printed.getvalue(), names["data"]


def test_the_readme_states_what_its_program_prints(sample, monkeypatch):
    (stated,) = re.findall(r"```text\n(.*?)```", README, re.DOTALL)
    assert run_readme(sample, monkeypatch)[0] == stated


def test_the_sample_fits_and_its_padding_is_little(sample, monkeypatch):
    assert (ROOT / "data" / "trembl_sample.fasta.gz").stat().st_size < 6_000_000
    _, data = run_readme(sample, monkeypatch)
    loaders = [data.train_dataloader(), data.val_dataloader(), *data.test_dataloader()]
    for loader in loaders:
        masks = [batch.mask for batch in loader]
        padding = 1 - sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)
        assert padding < 0.08


@pytest.mark.parametrize("objective", ["mlm", "mlm_authors", "causal"])
def test_the_config_builds_the_readmes_splits(sample, monkeypatch, objective):
    _, data = run_readme(sample, monkeypatch)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", overrides=[f"objective={objective}"])
    ours = instantiate(config.data)
    assert ours.preprocessing == data.preprocessing
    assert ours.objective.needs_causal == config.objective.causal
    assert ours.folder == data.folder
    batch = next(iter(ours.train_dataloader()))
    assert batch.mask.numel() <= config.data.batch_tokens
    if objective != "causal":
        expected = (0.8, 0.1) if objective == "mlm" else (0.1, 0.8)
        assert (ours.objective.mask, ours.objective.random) == expected


@pytest.mark.parametrize("data", ["sample", "concat", "whole", "homologs"])
def test_every_config_of_the_sample_makes_batches_as_it_is(sample, monkeypatch, data):
    monkeypatch.chdir(sample)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", overrides=[f"data={data}"])
    module = instantiate(config.data)
    for loader in (module.train_dataloader(), module.val_dataloader(), *module.test_dataloader()):
        assert next(iter(loader)).mask.any()
