"""Objects from the config, with a user's mistake said in one line that names its key."""

from typing import Any

from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from protein_performer.errors import UserError

# What constructors raise for a value that they cannot take.
_MISTAKES = (TypeError, ValueError, MisconfigurationException)


def build(cfg: DictConfig, key: str, **options: Any) -> Any:
    """What `cfg.KEY._target_` names, with its options and these.

    Raises: UserError for a value that is refused; Hydra's wrapping is taken off.
    """
    try:
        return instantiate(OmegaConf.select(cfg, key), **options)
    except HydraException as error:
        raise _user_error(key, error) from error


def build_each(cfg: DictConfig, key: str) -> list[Any]:
    """What each entry of a group names, in its order; entries without `_target_` are left out."""
    group = OmegaConf.select(cfg, key)
    names = [name for name in group if OmegaConf.is_dict(group[name])]
    return [build(cfg, f"{key}.{name}") for name in names if "_target_" in group[name]]


def _user_error(key: str, error: BaseException) -> BaseException:
    while isinstance(error, HydraException) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, UserError) or not isinstance(error, (*_MISTAKES, HydraException)):
        return error
    return UserError(f"{key}: {' '.join(str(error).split())}")
