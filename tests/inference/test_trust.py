"""What a checkpoint from elsewhere names is not run, whatever it says of trust."""

import os

import pytest
import torch
from tiny import OBJECTIVES, SOFTMAX, tiny_config, write_checkpoint

import protein_performer as pp
from protein_performer.errors import UserError
from protein_performer.inference.checkpoint import DESCRIPTION_KEY, load_checkpoint

MINE = {"_target_": "my_lab.attention.MeanOfPast", "gain": 2.0}
RUN = {"_target_": "os.system", "command": "touch {ran}"}
FUNCTIONS = [
    {"_target_": "protein_performer.registry.check_options", "key": "a", "build": "b"},
    {"_target_": "protein_performer.cli.main", "argv": ["--help"]},
    {"_target_": "protein_performer.files.replacing", "path": "victim"},
    {"_target_": "protein_performer.data.fetching.uniprot_query.download_query", "query": "x"},
    {"_target_": "protein_performer.model.transformer.ProteinTransformer"},
]


def write(path, part, value, trust=()):
    """A checkpoint of a file's author who means ill: the description says what it likes."""
    write_checkpoint(path, tiny_config())
    contents = torch.load(path, weights_only=True)
    config = contents[DESCRIPTION_KEY]["config"]
    if part == "attention":
        config["model"]["attention"] = value
    else:
        config["objective"]["task"] = value
    if trust:
        config["trusted_packages"] = contents[DESCRIPTION_KEY]["trusted_packages"] = list(trust)
    torch.save(contents, path)


@pytest.mark.parametrize("part", ["attention", "objective"])
@pytest.mark.parametrize("trust", [(), ("os", "posix")])
def test_a_files_own_trust_counts_for_nothing(tmp_path, part, trust):
    ran = tmp_path / "ran"
    command = RUN | {"command": f"touch {ran}"}
    wrapped = {
        "_target_": "protein_performer.build.build_object",
        "key": "x",
        "config": command,
        "trusted_packages": ["os"],
    }
    for value in (command, wrapped, wrapped | {"_target_": "protein_performer.model.build.build"}):
        write(tmp_path / "a.ckpt", part, value, trust)
        with pytest.raises(UserError, match=r"a\.ckpt: .*_target_: expected the"):
            pp.load(tmp_path / "a.ckpt", device="cpu")
    assert not ran.exists()
    assert os.listdir(tmp_path) == ["a.ckpt"]


@pytest.mark.parametrize("part", ["attention", "objective"])
@pytest.mark.parametrize("value", FUNCTIONS, ids=lambda value: value["_target_"])
def test_of_our_package_only_mechanisms_and_objectives_may_be_named(tmp_path, part, value):
    write(tmp_path / "a.ckpt", part, value)
    with pytest.raises(UserError, match=r"_target_: expected the (attention mechanism|objective)"):
        load_checkpoint(tmp_path / "a.ckpt")


def test_a_mechanism_is_no_objective_and_the_other_way_round(tmp_path):
    for part, value in (("attention", OBJECTIVES["mlm"]), ("objective", SOFTMAX)):
        write(tmp_path / "a.ckpt", part, value)
        with pytest.raises(UserError, match="_target_: expected the"):
            load_checkpoint(tmp_path / "a.ckpt")


def test_an_objective_whose_answers_the_model_would_see_is_refused(tmp_path):
    write(tmp_path / "a.ckpt", "objective", OBJECTIVES["causal"])
    with pytest.raises(UserError, match=r"a\.ckpt: objective\.causal"):
        load_checkpoint(tmp_path / "a.ckpt")


def test_a_package_of_ones_own_is_trusted_when_one_says_so(tmp_path):
    network = write_checkpoint(
        tmp_path / "a.ckpt", tiny_config(attention=MINE), trusted_packages=["my_lab"]
    )
    with pytest.raises(UserError, match=r"--trust my_lab"):
        pp.load(tmp_path / "a.ckpt", device="cpu")
    lm = pp.load(tmp_path / "a.ckpt", device="cpu", trusted_packages=["my_lab"])
    tokens = torch.randint(4, 30, (2, 11))
    torch.testing.assert_close(lm.network(tokens), network(tokens), rtol=0, atol=0)
