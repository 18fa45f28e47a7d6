"""A run in bf16-mixed, and one with compiled blocks."""

import logging
import math

import pytest
import torch
from runs import compose_run, losses, write_proteins
from torch.utils._python_dispatch import TorchDispatchMode

import train as script
from protein_performer.errors import UserError
from protein_performer.training import lightning
from protein_performer.training.lightning import usable_precision


class ProductDtypes(TorchDispatchMode):
    """Collects the dtypes of all matrix products."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.__name__.partition(".")[0] in ("mm", "addmm"):
            self.seen.add(args[-1].dtype)
        return function(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def fasta(tmp_path_factory):
    return write_proteins(tmp_path_factory.mktemp("proteins"))


@pytest.mark.parametrize("gains", [True, False])
def test_bfloat16_is_taken_where_it_gains(tmp_path, fasta, monkeypatch, caplog, gains):
    monkeypatch.setattr(lightning, "multiplies_bfloat16", lambda device: gains)
    cfg = compose_run(tmp_path, fasta, "trainer.precision=bf16-mixed", "trainer.max_steps=2")
    with ProductDtypes() as products, caplog.at_level(logging.WARNING):
        script.train(cfg)
    assert (torch.bfloat16 in products.seen) is gains
    assert ("no bfloat16 products" in caplog.text) is not gains
    assert all(map(math.isfinite, losses(tmp_path).values()))


@pytest.mark.parametrize(
    ("precision", "accelerator", "expected"),
    [
        ("bf16-mixed", "cpu", "32-true"),
        ("bf16-mixed", "cuda", "bf16-mixed"),
        ("32-true", "cpu", "32-true"),
        ("64-true", "cpu", "64-true"),
    ],
)
def test_other_precisions_and_devices_stay(monkeypatch, precision, accelerator, expected):
    monkeypatch.setattr(lightning, "multiplies_bfloat16", lambda device: False)
    assert usable_precision(precision, accelerator) == expected


@pytest.mark.parametrize("compiled", [True, False])
def test_blocks_are_compiled_where_the_config_says_so(tmp_path, fasta, monkeypatch, compiled):
    models = []
    monkeypatch.setattr(script, "compile_blocks", models.append)
    cfg = compose_run(tmp_path, fasta, f"model.compile={compiled}", "trainer.max_steps=1")
    script.train(cfg)
    assert len(models) == compiled


def test_a_missing_compiler_is_said_before_training(tmp_path, fasta, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"C\+\+ compiler"):
        script.train(compose_run(tmp_path, fasta, "model.compile=true"))
