"""Small models with checkpoints, as a run would write them, for tests that need no training."""

import torch

from protein_performer.alphabet import Alphabet
from protein_performer.inference.checkpoint import DESCRIPTION_KEY, describe
from protein_performer.model.build import build_model
from protein_performer.model.config import ModelConfig

SOFTMAX = {"_target_": "protein_performer.attention.softmax.Softmax"}
RELU = {
    "_target_": "protein_performer.attention.favor.favor.Favor",
    "feature_map": "relu",
    "num_features": 16,
}
OBJECTIVES = {
    "mlm": {"_target_": "protein_performer.data.objectives.MaskedResidues"},
    "causal": {"_target_": "protein_performer.data.objectives.NextToken"},
}


def tiny_config(objective="mlm", attention=SOFTMAX, **trunk):
    return {
        "seed": 0,
        "model": {
            "name": "tiny",
            "attention": dict(attention),
            "redraw_every": None,
            "d_model": 16,
            "num_layers": 2,
            "num_heads": 2,
            "d_ff": 32,
            "causal": objective == "causal",
            **trunk,
        },
        "objective": {
            "name": objective,
            "causal": objective == "causal",
            "task": OBJECTIVES[objective],
        },
        "data": {"max_length": 64},
    }


def tiny_network(config, trusted_packages=()):
    torch.manual_seed(0)
    model_config = ModelConfig.from_plain(config["model"])
    network = build_model(model_config, len(Alphabet()), trusted_packages=trusted_packages)
    with torch.no_grad():  # larger weights than at the start of training, so that leaks show
        for parameter in network.parameters():
            parameter.mul_(3)
    return network.eval()


def write_checkpoint(path, config, *, policy="unknown", trusted_packages=(), **changes):
    network = tiny_network(config, trusted_packages)
    contents = {
        "state_dict": {f"model.{name}": value for name, value in network.state_dict().items()},
        "global_step": 7,
        DESCRIPTION_KEY: describe(config, Alphabet(), policy, [0] * 4 + [10] * 20 + [0] * 6),
    }
    torch.save(contents | changes, path)
    return network
