"""A folder as `save_pretrained` of transformers writes it: config.json, and weights beside it."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from protein_performer.errors import UserError

CONFIG_FILE = "config.json"


def weights_path(folder: Path) -> Path:
    """The file that the weights are in, or the index of the files."""
    names = ("model.safetensors.index.json", "model.safetensors", "pytorch_model.bin")
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        raise UserError(f"{folder}: expected {names[1]} or {names[2]}, found neither")
    return found[0]


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Of `model.safetensors`, of several files with an index, or of `pytorch_model.bin`."""
    path = weights_path(folder)
    if path.suffix == ".json":
        names = sorted(set(read_json(path).get("weight_map", {}).values()))
        paths = [folder / Path(name).name for name in names]  # nowhere but in this folder
        return {name: x for each in paths for name, x in _read_safetensors(each).items()}
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    # Of a damaged file, or one that names code, torch raises whatever it stumbles on.
    except Exception as error:
        raise UserError(f"{path}: not a file of plain tensors: {error}") from None
    return weights


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError:
        raise UserError(
            f'{path}: reading it needs safetensors: pip install "protein-performer[hf]"'
        ) from None
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: damaged, or no safetensors file: {error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file. Raises UserError for what is none."""
    try:
        contents = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path}: expected JSON: {error}") from None
    if not isinstance(contents, dict):
        raise UserError(f"{path}: expected a JSON object, got {type(contents).__name__}")
    return contents
