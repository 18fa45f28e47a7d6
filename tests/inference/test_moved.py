"""Checkpoints that were written before the package had rooms still load, and resume bit for bit.

The fixtures are of runs of eight steps, stored at the fourth; with them the weights that the same
code reached at the eighth.
"""

from pathlib import Path

import pytest
import torch
from runs import compose_run, write_proteins
from torch.testing import assert_close

from protein_performer.inference.checkpoint import load_checkpoint
from protein_performer.inference.format import MOVED_TARGETS
from train import train

FIXTURES = Path(__file__).parents[1] / "fixtures" / "format1"
SMALLER = (
    "trainer.max_steps=8",
    "model.d_model=16",
    "model.d_ff=32",
    "model.num_features=8",
    "model.redraw_every=3",
)


@pytest.mark.parametrize("name", ["performer_relu", "performer_softmax", "reformer"])
def test_loads(name):
    checkpoint = load_checkpoint(FIXTURES / f"{name}_step4.ckpt")
    assert checkpoint.step == 4
    assert checkpoint.config["model"]["attention"]["_target_"] in MOVED_TARGETS
    logits = checkpoint.model(torch.arange(4, 24)[None])
    assert logits.isfinite().all()
    assert logits.std() > 0


def test_an_option_that_was_renamed_keeps_its_value(tmp_path):
    stored = torch.load(FIXTURES / "performer_relu_step4.ckpt", weights_only=True)
    config = stored["protein_performer"]["config"]["model"]["attention"]
    config["renormalize"] = False
    torch.save(stored, tmp_path / "old.ckpt")
    (mechanism, *_) = load_checkpoint(tmp_path / "old.ckpt").model.mechanisms
    assert mechanism.options.normalize is False


@pytest.mark.filterwarnings("ignore:The dirpath has changed")  # another folder, on purpose
@pytest.mark.parametrize(
    ("name", "objective"), [("performer_relu", "mlm"), ("performer_softmax", "causal")]
)
def test_resumes_as_the_run_that_wrote_it(tmp_path, name, objective):
    overrides = (*SMALLER, f"model={name}", f"objective={objective}")
    start = FIXTURES / f"{name}_step4.ckpt"
    fasta = write_proteins(tmp_path)
    train(compose_run(tmp_path / "run", fasta, f"ckpt_path={start}", *overrides))
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    then = torch.load(FIXTURES / f"{name}_step8_weights.ckpt", weights_only=True)["state_dict"]
    before = torch.load(start, weights_only=True)["state_dict"]
    assert last["global_step"] == 8
    assert last["state_dict"].keys() == then.keys()
    for key, value in then.items():
        # Another processor rounds otherwise: hence no comparison to the bit.
        assert_close(last["state_dict"][key], value, rtol=1e-5, atol=1e-6)
    assert any((then[key] - before[key]).abs().max() > 1e-3 for key in then)
