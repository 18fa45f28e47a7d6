"""A folder of `config.json` and safetensors, as `protein-performer export` writes it, read back.

`transformers` reads the same folder and writes others like it (`save_pretrained`), after training
for example. It is a file from elsewhere: it holds plain types and tensors, and no code of it is
run, also where it has some.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch

from protein_performer.errors import UserError
from protein_performer.inference.pretrained_folder import (
    CONFIG_FILE,
    read_json,
    read_weights,
    weights_path,
)

MODEL_TYPE = "protein-performer"
_NETWORK_PREFIX = "network."  # of the network inside the models of transformers


class Exported(NamedTuple):
    """What `config.json` says.

    Attributes:
        description: as a checkpoint of training has it.
        step: optimizer steps taken.
    """

    description: dict[str, Any]
    step: Any


def is_exported(path: Path) -> bool:
    """Whether this is a folder with a model's config in it."""
    return (path / CONFIG_FILE).is_file()


def read_exported(folder: Path) -> tuple[Path, dict[str, torch.Tensor], Exported]:
    """The file of the weights, the weights by their names in the network, and all else.

    Raises: UserError for a folder of another model or one that is damaged.
    """
    path = folder / CONFIG_FILE
    config = read_json(path)
    if config.get("model_type") != MODEL_TYPE:
        raise UserError(
            f"{path}: expected a model of type {MODEL_TYPE!r}, got {config.get('model_type')!r}"
        )
    network, training = config.get("network"), config.get("training")
    if not isinstance(network, dict) or not isinstance(training, dict):
        raise UserError(f"{path}: expected the keys network and training, as export writes them")
    run = {
        "model": network,
        "objective": training.get("objective"),
        "data": {"max_length": training.get("max_length")},
    }
    weights = {
        name.removeprefix(_NETWORK_PREFIX): value for name, value in read_weights(folder).items()
    }
    description = {**training, "config": run}
    return weights_path(folder), weights, Exported(description, training.get("step"))
