"""The format of checkpoints, and what its names of classes and options are called now.

A class that moves, or an option that is renamed, gets an entry here: files written before still
load (`tests/inference/test_moved.py` has some).
"""

from collections.abc import Mapping
from typing import Any

FORMAT = 1

MOVED_TARGETS = {
    "protein_performer.attention.favor.Favor": "protein_performer.attention.favor.favor.Favor",
    "protein_performer.attention.reformer.Reformer": (
        "protein_performer.attention.reformer.reformer.Reformer"
    ),
    "protein_performer.attention.values.Values": "protein_performer.attention.identity.Values",
}
# Present target -> earlier name of an option -> present name.
RENAMED_OPTIONS = {
    "protein_performer.attention.favor.favor.Favor": {"renormalize": "normalize"},
}


def with_present_names(plain: Mapping[str, Any]) -> dict[str, Any]:
    """A `_target_` and its options, in today's names.

    >>> with_present_names({"_target_": "protein_performer.attention.values.Values"})
    {'_target_': 'protein_performer.attention.identity.Values'}
    >>> with_present_names(
    ...     {"_target_": "protein_performer.attention.favor.Favor", "renormalize": False}
    ... )["normalize"]
    False
    """
    target = MOVED_TARGETS.get(plain["_target_"], plain["_target_"])
    renamed = RENAMED_OPTIONS.get(target, {})
    options = {renamed.get(name, name): value for name, value in plain.items()}
    return options | {"_target_": target}
