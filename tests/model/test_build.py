import pytest
from tiny import SOFTMAX, tiny_config

from protein_performer.errors import UserError
from protein_performer.model.build import build_model


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widht": 3}, r"model: .*widht.*The options are: .*d_model"),
        ({"attention": SOFTMAX | {"dropuot": 1}}, r"model\.attention: .*dropuot"),
        ({"attention": {"_target_": "protein_performer.attention.softmax.Hard"}}, "there is no"),
        ({"attention": {"_target_": "protein_performer.attention.hard.Hard"}}, "there is no"),
        ({"attention": {"_target_": "builtins.eval"}}, "trusted_packages"),
    ],
)
def test_a_config_that_names_nothing_is_an_error_with_its_key(changes, message):
    with pytest.raises(UserError, match=message):
        build_model(tiny_config()["model"] | changes, 30)


def test_a_package_of_the_users_can_be_trusted():
    config = tiny_config()["model"] | {"attention": {"_target_": "tiny.tiny_network"}}
    with pytest.raises(UserError, match="outside"):
        build_model(config, 30)
    with pytest.raises(TypeError):  # it is imported, and is no mechanism
        build_model(config, 30, trusted_packages=("tiny",))
