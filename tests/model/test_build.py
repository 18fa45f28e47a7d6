import pytest
from my_lab.attention import MeanOfPast
from tiny import SOFTMAX, tiny_config

from protein_performer.attention.softmax import Softmax
from protein_performer.errors import UserError
from protein_performer.model.build import MECHANISMS, build_model
from protein_performer.model.config import ModelConfig


def build(changes, **options):
    return build_model(ModelConfig.from_plain(tiny_config()["model"] | changes), 30, **options)


@pytest.mark.parametrize(
    ("attention", "message"),
    [
        (SOFTMAX | {"dropuot": 1}, r"model\.attention: .*dropuot.*The options are"),
        ({"_target_": "protein_performer.attention.softmax.Hard"}, "trust its package"),
        ({"_target_": "builtins.eval"}, r"model\.attention\._target_: .* got 'builtins\.eval'"),
    ],
)
def test_a_config_that_names_nothing_is_an_error_with_its_key(attention, message):
    with pytest.raises(UserError, match=message):
        build({"attention": attention})


def test_every_registered_name_is_the_classs_own():
    assert MECHANISMS.find("key", "protein_performer.attention.softmax.Softmax") is Softmax


def test_a_mechanism_of_the_users_own_package_is_built_when_it_is_trusted():
    mine = {"attention": {"_target_": "my_lab.attention.MeanOfPast"}}
    with pytest.raises(UserError, match=r"trusted_packages=\[my_lab\]"):
        build(mine)
    model = build(mine, trusted_packages=["my_lab"])
    assert all(isinstance(mechanism, MeanOfPast) for mechanism in model.mechanisms)


@pytest.mark.parametrize(
    "target", ["tiny.tiny_network", "tiny.SOFTMAX", "tiny.none", "tiny.none.None"]
)
def test_trust_is_of_classes_of_the_right_kind(target):
    with pytest.raises(UserError, match=r"there is no|expected a class of Module"):
        build({"attention": {"_target_": target}}, trusted_packages=["tiny"])
