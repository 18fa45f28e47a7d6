import pytest
from tiny import RELU, tiny_config

from protein_performer.errors import UserError
from protein_performer.model.config import ModelConfig

PLAIN = tiny_config()["model"]


def test_plain_types_and_back():
    config = ModelConfig.from_plain(PLAIN | {"attention": RELU, "num_features": 16})
    assert config.name == "tiny"
    assert config.attention.options == {"feature_map": "relu", "num_features": 16}
    assert config.trunk.head_dim == 8
    assert ModelConfig.from_plain(config.to_plain()) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widht": 3}, r"model: there is no option widht\. The options are: .*d_model"),
        ({"trusted_packages": ["os"]}, "there is no option trusted_packages"),
        ({"attention": None}, r"model\.attention: expected _target_"),
        ({"attention": {"_target_": 3}}, r"model\.attention: expected _target_"),
        ({"d_model": "abc"}, r"model\.d_model: expected int, got 'abc'"),
        ({"d_model": 0}, r"model\.d_model: expected at least 1, got 0"),
        ({"causal": 1}, r"model\.causal: expected bool, got 1"),
        ({"num_heads": True}, r"model\.num_heads: expected int, got True"),
        ({"dropout": 2}, r"model\.dropout: expected 0 <= dropout < 1, got 2"),
        ({"dropout": "a lot"}, r"model\.dropout: expected float, got 'a lot'"),
        ({"convolution": 2.5}, r"model\.convolution: expected int or null, got 2\.5"),
        ({"activation": "relu"}, r"model\.activation: expected one of gelu_tanh, gelu, got 'relu'"),
        ({"head": "deep"}, r"model\.head: expected one of linear, tied, two_layer"),
        ({"norm_epsilon": 0.0}, r"model\.norm_epsilon: expected more than 0"),
        ({"num_heads": 5}, "divisible by num_heads"),
    ],
)
def test_what_cannot_be_is_one_message_with_the_key(changes, message):
    with pytest.raises(UserError, match=message):
        ModelConfig.from_plain(PLAIN | changes)


def test_what_is_missing_is_named():
    with pytest.raises(UserError, match="there must be d_ff"):
        ModelConfig.from_plain({key: value for key, value in PLAIN.items() if key != "d_ff"})
