import pickle

import pytest
import torch
from tiny import RELU, tiny_config, write_checkpoint
from torch.testing import assert_close

from protein_performer.alphabet import Alphabet
from protein_performer.errors import UserError
from protein_performer.inference.checkpoint import DESCRIPTION_KEY, load_checkpoint


class NotPlain:
    pass


@pytest.mark.parametrize("objective", ["mlm", "causal"])
def test_a_loaded_model_computes_what_the_saved_one_did(tmp_path, objective):
    network = write_checkpoint(tmp_path / "a.ckpt", tiny_config(objective, attention=RELU))
    loaded = load_checkpoint(tmp_path / "a.ckpt")
    tokens = torch.randint(4, 30, (2, 11))
    assert_close(loaded.model(tokens), network(tokens), rtol=0, atol=0)
    assert not loaded.model.training
    assert loaded.model.causal is (objective == "causal")
    assert (loaded.objective, loaded.step, loaded.residue_policy) == (objective, 7, "unknown")
    assert loaded.alphabet == Alphabet()


def test_the_random_features_are_the_saved_ones(tmp_path):
    config = tiny_config(attention=RELU)
    network = write_checkpoint(tmp_path / "a.ckpt", config)
    network.redraw_(5)
    state = {f"model.{name}": value for name, value in network.state_dict().items()}
    write_checkpoint(tmp_path / "b.ckpt", config, state_dict=state)
    tokens = torch.randint(4, 30, (2, 11))
    redrawn = load_checkpoint(tmp_path / "b.ckpt").model(tokens)
    assert_close(redrawn, network(tokens), rtol=0, atol=0)
    assert (redrawn - load_checkpoint(tmp_path / "a.ckpt").model(tokens)).abs().max() > 1e-6


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "none.ckpt")


@pytest.mark.parametrize(
    "contents", [b"", b"text, not a checkpoint", pickle.dumps(UserError), b"PK\x03\x04broken"]
)
def test_a_file_that_is_no_checkpoint(tmp_path, contents):
    (tmp_path / "a.ckpt").write_bytes(contents)
    with pytest.raises(UserError, match="not a checkpoint"):
        load_checkpoint(tmp_path / "a.ckpt")


def test_a_checkpoint_that_holds_more_than_plain_types(tmp_path):
    torch.save({DESCRIPTION_KEY: NotPlain()}, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match="plain types"):
        load_checkpoint(tmp_path / "a.ckpt")


def test_another_programs_checkpoint(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match="another program's"):
        load_checkpoint(tmp_path / "a.ckpt")


def test_weights_that_do_not_fit_are_refused(tmp_path):
    write_checkpoint(tmp_path / "a.ckpt", tiny_config(), state_dict={"model.extra": torch.ones(1)})
    with pytest.raises(UserError, match="do not fit"):
        load_checkpoint(tmp_path / "a.ckpt")


def test_a_checkpoint_cannot_name_code_from_elsewhere(tmp_path):
    config = tiny_config()
    write_checkpoint(tmp_path / "a.ckpt", config)
    contents = torch.load(tmp_path / "a.ckpt", weights_only=True)
    attention = contents[DESCRIPTION_KEY]["config"]["model"]["attention"]
    attention["_target_"] = "os.system"
    torch.save(contents, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match="trust its package"):
        load_checkpoint(tmp_path / "a.ckpt")


def test_a_later_format_is_refused(tmp_path):
    write_checkpoint(tmp_path / "a.ckpt", tiny_config())
    contents = torch.load(tmp_path / "a.ckpt", weights_only=True)
    contents[DESCRIPTION_KEY]["format"] = 99
    torch.save(contents, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match="format 99"):
        load_checkpoint(tmp_path / "a.ckpt")
