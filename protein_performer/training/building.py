"""Objects from the config, with a user's mistake said in one line that names its key."""

import inspect
from typing import Any

from hydra.errors import HydraException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from protein_performer.errors import UserError

# What constructors raise for a value that they cannot take.
_MISTAKES = (TypeError, ValueError, MisconfigurationException)


def build(cfg: DictConfig, key: str, **options: Any) -> Any:
    """What `cfg.KEY._target_` names, with its options and these.

    Raises: UserError for a value that is refused; Hydra's wrapping is taken off.
    """
    node = OmegaConf.select(cfg, key)
    if node.get("_partial_"):
        _check_names(key, node)
    try:
        return instantiate(node, **options)
    except HydraException as error:
        raise _user_error(key, error) from error


def build_each(cfg: DictConfig, key: str) -> list[Any]:
    """What each entry of a group names, in its order; entries without `_target_` are left out."""
    group = OmegaConf.select(cfg, key)
    names = [name for name in group if OmegaConf.is_dict(group[name])]
    return [build(cfg, f"{key}.{name}") for name in names if "_target_" in group[name]]


def _check_names(key: str, node: DictConfig) -> None:
    """Refuse an option that does not exist: where it is called later, it would be said too late."""
    known = inspect.signature(get_object(node["_target_"])).parameters
    for name in node:
        if not str(name).startswith("_") and name not in known:
            raise UserError(
                f"{key}.{name!s}: there is no such option; there are: {', '.join(known)}"
            )


def _user_error(key: str, error: BaseException) -> BaseException:
    while isinstance(error, HydraException) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, UserError) or not isinstance(error, (*_MISTAKES, HydraException)):
        return error
    return UserError(f"{key}: {' '.join(str(error).split())}")
