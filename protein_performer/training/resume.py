"""Whether a checkpoint and a config are of one experiment: a resumed run is the uninterrupted one.

Every field of the config that differs is either refused by its name, or announced.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from protein_performer.errors import UserError

# Where and how fast a run computes, and what it writes: no result depends on these.
_ANY_VALUE = (
    *("run_dir", "ckpt_path", "group", "tags", "logger", "callbacks"),
    *("trusted_packages", "data.objective"),  # the latter is `objective.task` once more
    *("data.num_workers", "data.cache_dir", "data.cache_gigabytes"),
    # What these hold is compared by its content, as the data module knows it.
    *("data.sources", "data.prepared", "data.download", "data.splits.clusters", "data.clusters"),
    *("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy"),
    *("trainer.plugins", "trainer.default_root_dir", "trainer.enable_progress_bar"),
    *("trainer.log_every_n_steps", "trainer.enable_model_summary", "model.compile"),
)
# How long a run goes on, and at which rate: the new value counts from the checkpoint on.
_FROM_HERE_ON = (
    *("trainer.max_steps", "trainer.max_time", "trainer.max_epochs", "trainer.val_check_interval"),
    *("schedule", "optimizer.lr"),
)


class Difference(NamedTuple):
    """A field of the config that has another value."""

    key: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.key}: {self.before} -> {self.now}"

    @property
    def changes_results(self) -> bool:
        """Whether a run that has ended would end otherwise with it."""
        return not _is_under(self.key, _ANY_VALUE)

    @property
    def is_refused(self) -> bool:
        """Whether no run can go on with it."""
        if self.before is _ABSENT or self.now is _ABSENT:
            return False  # an option that the other version of this package does not have
        return not _is_under(self.key, (*_ANY_VALUE, *_FROM_HERE_ON))


class _Absent:
    def __repr__(self) -> str:
        return "absent"


_ABSENT = _Absent()


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """The fields in which two resolved configs differ, keys sorted."""
    theirs, ours = dict(_fields(before)), dict(_fields(now))
    found = (
        Difference(key, theirs.get(key, _ABSENT), ours.get(key, _ABSENT))
        for key in sorted({*theirs, *ours})
    )
    return [each for each in found if each.before != each.now]


def check_resumable(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """What changes from the checkpoint on, to be announced.

    Args:
        before: the resolved config in the checkpoint.
        now: that of the run that is to go on from it.

    Raises: UserError that names each field that makes it another experiment.
    """
    found = differences(before, now)
    refused = [each for each in found if each.is_refused]
    if refused:
        raise UserError(
            "the checkpoint is of another experiment, and cannot be resumed as this one"
            f" ({'; '.join(map(str, refused))}). Set these as they were, or start anew in another"
            " folder."
        )
    return found


def _fields(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(config, Mapping) and config:
        for key, value in config.items():
            yield from _fields(value, f"{prefix}.{key}" if prefix else str(key))
    elif prefix.endswith("._target_"):
        yield prefix, str(config).rpartition(".")[2]  # modules of ours were moved, classes were not
    else:
        yield prefix, list(config) if isinstance(config, tuple) else config


def _is_under(key: str, places: tuple[str, ...]) -> bool:
    return any(key == place or key.startswith(f"{place}.") for place in places)
