import os
import pickle
import random
import zipfile

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


class Runs:
    """What a pickle can hold: a call, here one that leaves a trace."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_checkpoint_is_refused_and_never_run(tmp_path, zipped):
    path, trace = tmp_path / "a.ckpt", tmp_path / "trace"
    write_checkpoint(path, tiny_config())
    contents = torch.load(path, weights_only=True) | {"more": Runs(trace)}
    torch.save(contents, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match="not a checkpoint") as raised:
        load_checkpoint(path)
    assert not trace.exists()
    assert "weights_only" not in str(raised.value)  # no advice on how to run it
    if zipped:
        assert str(raised.value).endswith("it names posix.mkdir, which is not run")


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


def test_a_flipped_bit_is_an_error_or_changes_nothing(tmp_path):
    network = write_checkpoint(tmp_path / "a.ckpt", tiny_config(attention=RELU))
    whole = (tmp_path / "a.ckpt").read_bytes()
    generator, messages = random.Random(0), []
    for _ in range(80):
        damaged = bytearray(whole)
        damaged[generator.randrange(len(whole))] ^= 1 << generator.randrange(8)
        (tmp_path / "b.ckpt").write_bytes(damaged)
        try:
            loaded = load_checkpoint(tmp_path / "b.ckpt").model.state_dict()
        except UserError as error:
            messages.append(str(error))
        else:
            assert all(torch.equal(loaded[k], v) for k, v in network.state_dict().items())
    assert len(messages) > 20
    assert all(message.startswith(f"{tmp_path / 'b.ckpt'}: ") for message in messages)


def test_the_damaged_record_is_named(tmp_path):
    write_checkpoint(tmp_path / "a.ckpt", tiny_config())
    with zipfile.ZipFile(tmp_path / "a.ckpt") as records:
        largest = max(records.infolist(), key=lambda each: each.file_size)
    damaged = bytearray((tmp_path / "a.ckpt").read_bytes())
    damaged[largest.header_offset + 300] ^= 1
    (tmp_path / "a.ckpt").write_bytes(damaged)
    with pytest.raises(UserError, match=f"damaged: its record {largest.filename}"):
        load_checkpoint(tmp_path / "a.ckpt")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_file(tmp_path, share):
    write_checkpoint(tmp_path / "a.ckpt", tiny_config())
    whole = (tmp_path / "a.ckpt").read_bytes()
    (tmp_path / "a.ckpt").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError, match="end is missing"):
        load_checkpoint(tmp_path / "a.ckpt")


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("alphabet"),
        lambda d: d.pop("config"),
        lambda d: d["config"].pop("model"),
        lambda d: d["config"]["model"].pop("attention"),
        lambda d: d["config"].update(objective=None),
        lambda d: d.update(alphabet="ACDEF"),
        lambda d: d["config"].update(model=[1, 2]),
        lambda d: d["config"]["model"].update(d_model="wide"),
    ],
)
def test_a_description_that_lacks_a_part_is_one_message(tmp_path, change):
    write_checkpoint(tmp_path / "a.ckpt", tiny_config())
    contents = torch.load(tmp_path / "a.ckpt", weights_only=True)
    change(contents[DESCRIPTION_KEY])
    torch.save(contents, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=r"a\.ckpt: "):
        load_checkpoint(tmp_path / "a.ckpt")


def test_a_runs_folder_stands_for_its_best_checkpoint(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    write_checkpoint(tmp_path / "checkpoints" / "best.ckpt", tiny_config())
    assert load_checkpoint(tmp_path).step == 7
    with pytest.raises(UserError, match=r"checkpoints/best\.ckpt: there is no such checkpoint"):
        load_checkpoint(tmp_path / "checkpoints")
