"""A run that begins with the weights of another model: `init_from=RUN`, `distil=STEPS`."""

import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities import rank_zero_only
from typing_extensions import override

from protein_performer.alphabet import Alphabet
from protein_performer.errors import UserError
from protein_performer.inference.checkpoint import load_checkpoint
from protein_performer.model.config import TrunkConfig
from protein_performer.model.transformer import ProteinTransformer
from protein_performer.training.distillation import distil
from protein_performer.training.last import SaveLast
from protein_performer.training.module import LanguageModel

log = logging.getLogger(__name__)

# What the same weights would mean something else with, or would not fit. The rest of the trunk
# (dropout, seed, direction, reversibility) may be the new run's own.
_SAME = (
    *("d_model", "num_layers", "num_heads", "d_ff", "positions", "max_length", "convolution"),
    *("bias", "activation", "head", "norm_epsilon", "token_dropout"),
)


@dataclass(frozen=True)
class Donor:
    """A model whose weights are taken.

    Attributes:
        name: where it comes from.
        model: in evaluation mode, on the CPU.
        alphabet: of its tokens.
    """

    name: str
    model: ProteinTransformer
    alphabet: Alphabet


class Taken(NamedTuple):
    """What became of the weights; names with `*` for the number of the block."""

    parameters: int  # numbers that were taken
    of: int  # numbers that the new model has
    left: list[str]  # parameters that stay as they were drawn
    unused: list[str]  # weights of the donor without a place


def begins_warm(config: Mapping[str, Any], checkpoint: Path | None) -> bool:
    """Whether a run takes another model's weights: a resumed one goes on with its own.

    Raises: UserError for `distil` without a teacher, or that is no number of steps.
    """
    steps = config["distil"]
    if not isinstance(steps, int) or steps < 0 or (steps and not config["init_from"]):
        raise UserError(
            "distil: expected 0, or a number of steps with init_from=RUN, the teacher; got"
            f" distil={steps} with init_from={config['init_from']}"
        )
    return bool(config["init_from"]) and checkpoint is None


def read_donor(path: str | Path, trusted_packages: Sequence[str] = ()) -> Donor:
    """The model of a run's folder or of a checkpoint.

    Raises: UserError; see `load_checkpoint`.
    """
    checkpoint = load_checkpoint(path, trusted_packages=trusted_packages)
    return Donor(str(path), checkpoint.model, checkpoint.alphabet)


def take_weights(model: ProteinTransformer, donor: Donor, alphabet: Alphabet) -> Taken:
    """Give a new model the donor's weights, wherever name and shape agree.

    The trunks must agree, but for what no weight depends on. Mechanisms may differ: what one of
    them does not have, or has in another shape, is left as it was drawn. Random features are no
    weights: they are taken from a donor that has the same ones, else they stay those of the seed.

    Args:
        model: changed in place.
        donor: of another attention mechanism, or of the same.
        alphabet: of the model's tokens.

    Raises: UserError for another alphabet, and for a trunk that differs: it names the overrides.
    """
    _check_alphabet(donor, alphabet)
    _check_trunk(donor, model.trunk)
    own, theirs = model.state_dict(), donor.model.state_dict()
    fitting = {n: x for n, x in theirs.items() if n in own and own[n].shape == x.shape}
    model.load_state_dict(fitting, strict=False)
    parameters = dict(model.named_parameters())
    left = [name for name in parameters if name not in fitting]
    return Taken(
        sum(parameters[name].numel() for name in parameters if name in fitting),
        sum(each.numel() for each in parameters.values()),
        _of_any_block(left),
        _of_any_block([name for name in theirs if name not in fitting]),
    )


def warm_start(
    model: ProteinTransformer,
    data: pl.LightningDataModule,
    config: Mapping[str, Any],
    device: torch.device,
) -> float:
    """Begin as `config["init_from"]` and `config["distil"]` say, and say what was taken.

    Args:
        model: new, as the seed drew it; changed in place.
        data: to distil with, of the model's alphabet.
        config: the run's, resolved.
        device: where to distil; the model is on the CPU before and after.

    Returns: seconds of distilling.
    """
    alphabet = data.alphabet
    donor = read_donor(config["init_from"], config["trusted_packages"])
    taken = take_weights(model, donor, alphabet)
    if not taken.parameters:
        raise UserError(f"init_from={donor.name}: none of its weights has a place in this model")
    direction = {True: "causal", False: "bidirectional"}
    lines = [f"init_from={donor.name}: {taken.parameters:,} of {taken.of:,} parameters taken"]
    if donor.model.causal != model.causal:
        lines.append(f"from a {direction[donor.model.causal]} to a {direction[model.causal]} model")
    if taken.left:
        lines.append(f"left as drawn: {', '.join(taken.left)}")
    if taken.unused:
        lines.append(f"not used: {', '.join(taken.unused)}")
    rank_zero_only(log.info)("%s", "; ".join(lines))
    start = time.perf_counter()
    if config["distil"]:
        _distil(model, donor, data, config["distil"], device)
    return time.perf_counter() - start if config["distil"] else 0.0


def _distil(
    model: ProteinTransformer,
    donor: Donor,
    data: pl.LightningDataModule,
    steps: int,
    device: torch.device,
) -> None:
    """All ranks do so alike, from the same batches."""
    if donor.model.causal != model.causal:
        raise UserError(
            f"distil={steps}: expected a teacher that sees what the model sees, got"
            f" init_from={donor.name} with causal={donor.model.causal}. Set distil=0."
        )

    def report(step: int, errors: list[float]) -> None:
        by_layer = " ".join(f"{error:.3f}" for error in errors)
        rank_zero_only(log.info)("distilling, step %s/%s: errors %s", step, steps, by_layer)

    distil(model.to(device), donor.model.to(device), data.train_dataloader(), steps, report)
    model.cpu()


class ValidateFirst(pl.Callback):
    """Validates before the first step: how good the weights are that a run begins with.

    These weights may be the best of the run, so `best.ckpt` begins with them; and `last.ckpt`, so
    that a run that is killed later does not distil again.
    """

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.global_step:
            return
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint):
                callback._last_global_step_saved = -1  # Lightning takes step 0 for saved
        trainer.validating = True
        trainer.fit_loop.epoch_loop.val_loop.run()
        trainer.training = True
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, SaveLast):
                callback.save(trainer, pl_module)
        assert isinstance(pl_module, LanguageModel)
        perplexity = pl_module.results["val/perplexity"]
        rank_zero_only(log.info)("before the first step: val ppl %.2f", perplexity)


def _check_alphabet(donor: Donor, alphabet: Alphabet) -> None:
    if donor.alphabet.plain() != alphabet.plain():
        raise UserError(
            f"init_from={donor.name}: expected a model of the alphabet {alphabet.letters!r}, got"
            f" one of {donor.alphabet.letters!r}. Its embedding would mean other tokens."
        )


def _check_trunk(donor: Donor, trunk: TrunkConfig) -> None:
    theirs, ours = asdict(donor.model.trunk), asdict(trunk)
    wrong = [key for key in _SAME if theirs[key] != ours[key]]
    if wrong:
        plain = {None: "null", True: "true", False: "false"}
        cure = " ".join(f"model.{key}={plain.get(theirs[key], theirs[key])}" for key in wrong)
        got = " ".join(f"{key}={plain.get(ours[key], ours[key])}" for key in wrong)
        raise UserError(
            f"init_from={donor.name}: expected a model of the same trunk, got {got}. Set {cure}"
        )


def _of_any_block(names: Sequence[str]) -> list[str]:
    return sorted({re.sub(r"^blocks\.\d+\.", "blocks.*.", name) for name in names})
