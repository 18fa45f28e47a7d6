"""A checkpoint file to the model in it: plain types and tensors, nothing pickled.

A checkpoint is Lightning's, with one more key: the description that this file writes and reads.
"""

import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from protein_performer.alphabet import Alphabet, ResiduePolicy
from protein_performer.byte_alphabet import alphabet_from
from protein_performer.data.objectives import Objective
from protein_performer.errors import UserError
from protein_performer.inference.esm import is_esm, read_esm
from protein_performer.inference.exported import is_exported, read_exported
from protein_performer.inference.format import FORMAT, with_present_names
from protein_performer.inference.hub import local_path
from protein_performer.inference.objective import build_objective
from protein_performer.inference.pretrained_folder import CONFIG_FILE, weights_path
from protein_performer.model.build import build_model
from protein_performer.model.config import ModelConfig
from protein_performer.model.transformer import ProteinTransformer

DESCRIPTION_KEY = "protein_performer"
_MODULE_PREFIX = "model."  # of the network inside the LightningModule's state dict
_BEST = Path("checkpoints", "best.ckpt")  # in a run's folder


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        model: in evaluation mode, on the CPU.
        model_config: that it was built from.
        alphabet: of its tokens.
        residue_policy: what training did with characters outside the alphabet.
        objective: `mlm` or `causal`, or the name of the config that it was.
        task: what the objective asks.
        residue_counts: (V,) how often each token occurs in the training set.
        config: the run's whole resolved config.
        step: optimizer steps taken.
        path: of the file.
    """

    model: ProteinTransformer
    model_config: ModelConfig
    alphabet: Alphabet
    residue_policy: ResiduePolicy
    objective: str
    task: Objective
    residue_counts: list[int]
    config: dict[str, Any]
    step: int
    path: Path


def describe(
    config: Mapping[str, Any],
    alphabet: Alphabet,
    residue_policy: ResiduePolicy,
    residue_counts: Sequence[int],
) -> dict[str, Any]:
    """The description to store, from a run's resolved config in plain types."""
    return {
        "format": FORMAT,
        "version": version("protein-performer"),
        "alphabet": alphabet.plain(),
        "residue_policy": residue_policy,
        "residue_counts": list(residue_counts),
        "config": dict(config),
    }


def load_checkpoint(path: str | Path, *, trusted_packages: Sequence[str] = ()) -> Checkpoint:
    """Read a checkpoint and rebuild its model, strictly: every weight is there and has its place.

    Args:
        path: a `.ckpt` that a run wrote, or the run's folder, for its `checkpoints/best.ckpt`; a
            folder that `protein-performer export` wrote; or ESM-2, as a folder that
            `save_pretrained` wrote or by its name on the hub.
        trusted_packages: of your own, whose classes the file may name beside ours. Nothing that
            stands in the file adds to them.

    Raises: UserError for a file that is missing, damaged, no checkpoint of ours, or does not fit.
    """
    path = local_path(path)
    if is_esm(path):
        return _esm_checkpoint(path)
    weights: Mapping[str, torch.Tensor] | None = None
    description: Mapping[str, Any]
    if is_exported(path):
        path, weights, (description, step) = read_exported(path)
        _check_format(description, path)
    else:
        path = path / _BEST if path.is_dir() else path
        contents = _read(path)
        description, step = _description(contents, path), contents.get("global_step")
    try:
        if weights is None:
            weights = _network_weights(contents["state_dict"])
        return _rebuild(weights, step, description, trusted_packages, path)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: a part of its description is missing or not what it should be ({error!r})."
            " Was it changed by another program?"
        ) from error


def _description(contents: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    description = contents.get(DESCRIPTION_KEY)
    if not isinstance(description, Mapping):
        raise UserError(
            f"{path}: expected a checkpoint of protein-performer, found no {DESCRIPTION_KEY!r} key."
            " Is it another program's?"
        )
    _check_format(description, path)
    return description


def _check_format(description: Mapping[str, Any], path: Path) -> None:
    if description.get("format") != FORMAT:
        raise UserError(
            f"{path}: written in format {description.get('format')} by protein-performer"
            f" {description.get('version')}; this one reads format {FORMAT}"
        )


def _rebuild(
    weights: Mapping[str, torch.Tensor],
    step: Any,
    description: Mapping[str, Any],
    trusted_packages: Sequence[str],
    path: Path,
) -> Checkpoint:
    alphabet = alphabet_from(description["alphabet"])
    config = description["config"]
    attention = with_present_names(config["model"]["attention"])
    model_config = ModelConfig.from_plain({**config["model"], "attention": attention})
    model = build_model(model_config, len(alphabet), trusted_packages=trusted_packages)
    try:
        model.load_state_dict(_with_shared(model, weights), strict=True)
    except RuntimeError as error:
        raise UserError(f"the weights do not fit the config beside them: {error}") from None
    return Checkpoint(
        model=model.eval(),
        model_config=model_config,
        alphabet=alphabet,
        residue_policy=description["residue_policy"],
        objective=config["objective"]["name"],
        task=build_objective(
            config["objective"]["task"], causal=model.causal, trusted_packages=trusted_packages
        ),
        residue_counts=description["residue_counts"],
        config=config,
        step=step,
        path=path,
    )


def _esm_checkpoint(folder: Path) -> Checkpoint:
    """ESM-2 with exact attention; its training set is not in it, so residues count alike."""
    model_config, weights = read_esm(folder)
    alphabet = Alphabet()
    model = build_model(model_config, len(alphabet))
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise UserError(f"{folder}: the weights do not fit {CONFIG_FILE}: {error}") from None
    task = {"_target_": "protein_performer.data.objectives.MaskedResidues"}
    config = {
        "model": model_config.to_plain(),
        "objective": {"name": "mlm", "causal": False, "task": task},
        "data": {"max_length": 1024},  # that ESM-2 was trained with
    }
    return Checkpoint(
        model=model.eval(),
        model_config=model_config,
        alphabet=alphabet,
        residue_policy="unknown",
        objective="mlm",
        task=build_objective(task, causal=False),
        residue_counts=[int(code in alphabet.standard_codes) for code in range(len(alphabet))],
        config=config,
        step=0,
        path=weights_path(folder),
    )


def stored_run(path: Path) -> tuple[dict[str, Any], int]:
    """The resolved config of the run that wrote a checkpoint, and the optimizer steps it had taken.

    Raises: UserError; see `load_checkpoint`.
    """
    contents = _read(path)
    return _description(contents, path)["config"], contents["global_step"]


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(
            f"{path}: there is no such checkpoint. A run writes RUN/checkpoints/best.ckpt and"
            " last.ckpt, and prints where."
        )
    check_whole(path)
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
    # The reader of a file that is no torch file, or names code, raises whatever it stumbles on.
    except Exception as error:
        # PyTorch's message goes on with how to run such code.
        named = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it names {named[1]}, which is not run" if named else str(error)
        raise UserError(f"{path}: not a checkpoint of plain types: {reason}") from None
    if not isinstance(contents, dict):
        raise UserError(f"{path}: not a checkpoint: expected a dict, got {type(contents).__name__}")
    return contents


def check_whole(path: Path) -> None:
    """Raise UserError unless the file is a zip file whose records agree with their checksums.

    torch.save writes a zip file, and torch.load looks at no checksum: flipped bits would be other
    weights. Older pickles, which run code, are refused before anything reads them.
    """
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path}: not a checkpoint, or one whose end is missing")
    cure = "Copy or fetch it again."
    try:
        with zipfile.ZipFile(path) as records:
            damaged = records.testzip()
    # Of a damaged file zipfile raises whatever it stumbles on.
    except Exception as error:
        raise UserError(f"{path}: not a checkpoint, or a damaged one ({error}). {cure}") from None
    if damaged is not None:
        raise UserError(f"{path}: damaged: its record {damaged} fails its checksum. {cure}")


def _network_weights(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(_MODULE_PREFIX): value
        for name, value in state_dict.items()
        if name.startswith(_MODULE_PREFIX)
    }


def _with_shared(
    model: ProteinTransformer, weights: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Under every name of a weight that has several: safetensors holds it under one."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    shared = {
        name: weights[known]
        for each in names.values()
        for name in each
        for known in each
        if known in weights
    }
    return {**shared, **weights}
