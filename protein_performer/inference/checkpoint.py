"""A checkpoint file to the model in it: plain types and tensors, nothing pickled.

A checkpoint is Lightning's, with one more key: the description that this file writes and reads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import is_zipfile

import torch

from protein_performer.alphabet import Alphabet, ResiduePolicy
from protein_performer.byte_alphabet import alphabet_from
from protein_performer.errors import UserError
from protein_performer.model.build import OWN_PACKAGE, build_model
from protein_performer.model.transformer import ProteinTransformer

DESCRIPTION_KEY = "protein_performer"
FORMAT = 1
_MODULE_PREFIX = "model."  # of the network inside the LightningModule's state dict


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        model: in evaluation mode, on the CPU.
        alphabet: of its tokens.
        residue_policy: what training did with characters outside the alphabet.
        objective: `mlm` or `causal`, or the name of the config that it was.
        residue_counts: (V,) how often each token occurs in the training set.
        config: the run's whole resolved config.
        step: optimizer steps taken.
    """

    model: ProteinTransformer
    alphabet: Alphabet
    residue_policy: ResiduePolicy
    objective: str
    residue_counts: list[int]
    config: dict[str, Any]
    step: int


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


def load_checkpoint(
    path: str | Path, *, trusted_packages: Sequence[str] = (OWN_PACKAGE,)
) -> Checkpoint:
    """Read a checkpoint and rebuild its model, strictly: every weight is there and has its place.

    Args:
        path: a `.ckpt` that a run wrote.
        trusted_packages: where the model's attention may be imported from; see `build_model`.

    Raises: UserError for a file that is missing, is no checkpoint of ours, or does not fit.
    """
    contents = _read(Path(path))
    try:
        description = contents[DESCRIPTION_KEY]
    except KeyError:
        raise UserError(
            f"{path}: expected a checkpoint of protein-performer, found no {DESCRIPTION_KEY!r} key."
            " Is it another program's?"
        ) from None
    if description["format"] != FORMAT:
        raise UserError(
            f"{path}: written in format {description['format']} by protein-performer"
            f" {description['version']}; this one reads format {FORMAT}"
        )
    alphabet = alphabet_from(description["alphabet"])
    config = description["config"]
    model = build_model(config["model"], len(alphabet), trusted_packages=trusted_packages)
    try:
        model.load_state_dict(_network_weights(contents["state_dict"]), strict=True)
    except RuntimeError as error:
        raise UserError(f"{path}: the weights do not fit the config beside them: {error}") from None
    return Checkpoint(
        model=model.eval(),
        alphabet=alphabet,
        residue_policy=description["residue_policy"],
        objective=config["objective"]["name"],
        residue_counts=description["residue_counts"],
        config=config,
        step=contents["global_step"],
    )


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(
            f"{path}: there is no such checkpoint. A run writes RUN/checkpoints/best.ckpt and"
            " last.ckpt, and prints where."
        )
    # torch.save writes a zip file; older pickles are refused before anything reads them.
    if not is_zipfile(path):
        raise UserError(f"{path}: not a checkpoint, or one whose end is missing")
    try:
        contents: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError) as error:
        raise UserError(f"{path}: not a checkpoint of plain types: {error}") from None
    return contents


def _network_weights(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(_MODULE_PREFIX): value
        for name, value in state_dict.items()
        if name.startswith(_MODULE_PREFIX)
    }
