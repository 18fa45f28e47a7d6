"""Which classes a file may name: a checkpoint comes from elsewhere, and may name no other code."""

import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from protein_performer.errors import UserError


class Registry:
    """Classes of one kind by their full names.

    Args:
        kind: what they are, for errors.
        classes: ours, which any file may name.
        base: what a class of a user's own package must inherit from.
    """

    def __init__(self, kind: str, classes: Sequence[type], base: type = object) -> None:
        self.kind = kind
        self.base = base
        self.classes = {f"{each.__module__}.{each.__qualname__}": each for each in classes}

    def find(self, key: str, target: str, trusted_packages: Sequence[str] = ()) -> type:
        """The class of this full name.

        Args:
            key: of the config that names it, for errors.
            target: `package.module.Class`.
            trusted_packages: top-level packages of the user's own whose classes may be named, too.
                Importing them runs their code: this must come from the user, never from the file.

        Raises: UserError for a name that is neither registered nor in a trusted package, that does
            not exist, or that is no class of this kind.
        """
        if target in self.classes:
            return self.classes[target]
        module_name, _, class_name = target.rpartition(".")
        package = module_name.partition(".")[0]
        if package not in trusted_packages:
            raise UserError(
                f"{key}._target_: expected the {self.kind} {', '.join(self.classes)}, got"
                f" {target!r}. If it is yours, trust its package: trusted_packages=[{package}] for"
                f" train.py, --trust {package} for protein-performer, trusted_packages=["
                f"{package!r}] in Python. That runs its code."
            )
        try:
            named = getattr(importlib.import_module(module_name), class_name)
        except (ImportError, AttributeError) as error:
            raise UserError(f"{key}._target_: there is no {target!r} ({error})") from error
        if not (isinstance(named, type) and issubclass(named, self.base)):
            raise UserError(
                f"{key}._target_: expected a class of {self.base.__name__}, got {target!r}, a"
                f" {type(named).__name__}"
            )
        return named


def check_options(key: str, build: Callable[..., Any], *args: Any, **options: Any) -> None:
    """Hold options against a constructor's signature, without calling it.

    Raises: UserError, with the config key and the options that there are.
    """
    try:
        inspect.signature(build).bind(*args, **options)
    except TypeError as error:
        known = ", ".join(list(inspect.signature(build).parameters)[len(args) :])
        raise UserError(f"{key}: {error}. The options are: {known}") from error
