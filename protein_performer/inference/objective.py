"""The objective that a checkpoint was trained on, from the name and options in the file."""

from collections.abc import Mapping, Sequence
from typing import Any

from protein_performer.data.objectives import (
    MaskedResidues,
    NextToken,
    Objective,
    check_trunk,
)
from protein_performer.inference.format import with_present_names
from protein_performer.registry import Registry, check_options

OBJECTIVES = Registry("objective", [MaskedResidues, NextToken])
_KEY = "objective.task"


def build_objective(
    plain: Mapping[str, Any], *, causal: bool, trusted_packages: Sequence[str] = ()
) -> Objective:
    """Build what a run's config has in `objective.task`.

    Args:
        plain: `_target_` and options.
        causal: whether the model is.
        trusted_packages: see `Registry.find`.

    Raises: UserError, with the config key, for an objective or an option that does not exist, and
        for an objective whose answers the model would see.
    """
    options = with_present_names(plain)
    build = OBJECTIVES.find(_KEY, options.pop("_target_"), trusted_packages)
    check_options(_KEY, build, **options)
    objective: Objective = build(**options)
    check_trunk(objective, causal)
    return objective
