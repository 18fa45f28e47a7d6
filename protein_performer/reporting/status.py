"""How a run ended, as its folder says it: `status.json`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from protein_performer.files import replacing

STATUS_FILE = "status.json"


@dataclass(frozen=True)
class Status:
    """How far a run has come.

    Attributes:
        state: `running` (or killed, since nothing can be written then), `finished`, `stopped` by a
            signal, `skipped` where the config is of a run that cannot be, or `failed`.
        reason: of the last three.
        overrides: of the config, as on the command line; passwords left out.
        commit: of the checkout whose code ran; see `results.commit`.
    """

    state: str
    reason: str = ""
    overrides: Sequence[str] = ()
    commit: str | None = None


def write_status(run_dir: Path, status: Status) -> None:
    """Write the run's `status.json`."""
    with replacing(run_dir / STATUS_FILE) as partial:
        partial.write_text(json.dumps(asdict(status), indent=2) + "\n")


def read_status(run_dir: Path) -> Status | None:
    """Read a run's `status.json`; None where there is none."""
    path = run_dir / STATUS_FILE
    return Status(**json.loads(path.read_text())) if path.is_file() else None
