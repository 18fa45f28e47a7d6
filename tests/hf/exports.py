"""Exported models of every mechanism in conf/model, small, with random weights."""

import math

import torch
import yaml
from runs import ROOT
from tiny import tiny_config, write_checkpoint

from protein_performer.hf.folder_export import export_checkpoint
from protein_performer.inference.checkpoint import load_checkpoint

MODELS = sorted(path.stem for path in (ROOT / "conf" / "model").glob("*.yaml"))
BIDIRECTIONAL_ONLY = {"linformer", "linformer_random"}
EVERY = [(name, "mlm") for name in MODELS]
EVERY += [(name, "causal") for name in MODELS if name not in BIDIRECTIONAL_ONLY]


def attention_of(name, objective):
    text = (ROOT / "conf" / "model" / f"{name}.yaml").read_text()
    options = yaml.safe_load(text.replace("${model.num_features}", "16"))["attention"]
    if name == "performer_favor_plus_plus" and objective == "causal":
        options["spread"] = 2 * math.sqrt(8)  # not measured over what is to come
    return options


def export(folder, objective, attention, *, policy="unknown", **trunk):
    """The loaded checkpoint, and the folder that it was exported to."""
    folder.mkdir(parents=True, exist_ok=True)
    config = tiny_config(objective, attention, **trunk)
    write_checkpoint(folder / "best.ckpt", config, policy=policy)
    checkpoint = load_checkpoint(folder / "best.ckpt")
    export_checkpoint(checkpoint, folder / "exported")
    return checkpoint, folder / "exported"


def padded(side):
    """Rows of 9 and 5 tokens, as a tokenizer pads them on a side: codes and mask, (2, 9)."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(4, 24, (2, 9), generator=generator)
    tokens[:, 0] = 1
    mask = torch.ones_like(tokens)
    mask[1, 5:] = 0
    tokens[1, 5:] = 0
    if side == "left":
        tokens[1], mask[1] = tokens[1].roll(4), mask[1].roll(4)
    return tokens, mask
