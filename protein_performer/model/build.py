"""A model's config, in plain types, to the model: the same road for training and for loading."""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from protein_performer.attention.protocol import MakeAttention
from protein_performer.errors import UserError
from protein_performer.model.transformer import ProteinTransformer

OWN_PACKAGE = "protein_performer"
# Where classes stood in checkpoints of format 1, and where they stand now.
MOVED_TARGETS = {
    "protein_performer.attention.favor.Favor": "protein_performer.attention.favor.favor.Favor",
    "protein_performer.attention.reformer.Reformer": (
        "protein_performer.attention.reformer.reformer.Reformer"
    ),
    "protein_performer.attention.values.Values": "protein_performer.attention.identity.Values",
}
_NOT_TRUNK_OPTIONS = ("name", "attention", "redraw_every", "num_features")


def build_model(
    config: Mapping[str, Any],
    vocabulary_size: int,
    *,
    trusted_packages: Sequence[str] = (OWN_PACKAGE,),
) -> ProteinTransformer:
    """Build the model that a config describes.

    Args:
        config: `attention` (a `_target_` and its options), the trunk's options by their names in
            `ProteinTransformer`, and keys that others read: `name`, `redraw_every`, `num_features`.
        vocabulary_size: V.
        trusted_packages: top-level packages that `attention._target_` may be imported from. A
            checkpoint is a file from elsewhere: it may not name code to run.

    Raises: UserError, with the config key, for a target or an option that does not exist.
    """
    options = {key: value for key, value in config.items() if key not in _NOT_TRUNK_OPTIONS}
    attention = _attention_maker(config["attention"], trusted_packages)
    _check_options("model", ProteinTransformer, vocabulary_size, attention, **options)
    return ProteinTransformer(vocabulary_size, attention, **options)


def build_object(
    key: str, config: Mapping[str, Any], *, trusted_packages: Sequence[str] = (OWN_PACKAGE,)
) -> Any:
    """Build what a config's `_target_` names, with its options.

    Args:
        key: of the config, for errors.
        config: `_target_` and keyword options.
        trusted_packages: as for `build_model`.
    """
    build, options = _target(key, config, trusted_packages)
    _check_options(key, build, **options)
    return build(**options)


def _attention_maker(config: Mapping[str, Any], trusted_packages: Sequence[str]) -> MakeAttention:
    mechanism, options = _target("model.attention", config, trusted_packages)
    _check_options("model.attention", mechanism, None, **options)
    return partial(mechanism, **options)


def _target(
    key: str, config: Mapping[str, Any], trusted_packages: Sequence[str]
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The class that a config names, and its options."""
    target = str(config["_target_"])
    target = MOVED_TARGETS.get(target, target)
    module_name, _, class_name = target.rpartition(".")
    if module_name.partition(".")[0] not in trusted_packages:
        raise UserError(
            f"{key}._target_: {target!r} is outside {', '.join(trusted_packages)}. If you trust"
            " the file that names it, add its package to trusted_packages."
        )
    try:
        named = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"{key}._target_: there is no {target!r} ({error})") from error
    return named, {name: value for name, value in config.items() if name != "_target_"}


def _check_options(key: str, build: Callable[..., Any], *args: Any, **options: Any) -> None:
    """Hold the options against the constructor's signature, without calling it."""
    try:
        inspect.signature(build).bind(*args, **options)
    except TypeError as error:
        known = ", ".join(list(inspect.signature(build).parameters)[len(args) :])
        raise UserError(f"{key}: {error}. The options are: {known}") from error
