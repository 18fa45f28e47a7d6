"""Published results: small JSON files that say how each came about."""

import json
import platform
import subprocess
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from protein_performer.errors import UserError
from protein_performer.files import replacing


def write_result(
    path: Path, measured: Mapping[str, Any], *, command: str, seed: int | list[int], seconds: float
) -> None:
    """Write what was measured, with the command, commit, seed, machine and seconds behind it.

    Args:
        path: of the JSON file; an earlier result is replaced.
        measured: plain types; numbers are written with six digits.
        command: that measures it again.
        seed: of all that was drawn, or those of several runs.
        seconds: of wall time.
    """
    result = {
        "command": command,
        "commit": commit(),
        "date": date.today().isoformat(),
        "machine": machine(),
        "seed": seed,
        "seconds": round(seconds, 1),
        **_rounded(measured),
    }
    with replacing(path) as partial:
        partial.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")


def _rounded(plain: Any) -> Any:
    if isinstance(plain, float):
        return float(f"{plain:.6g}")
    if isinstance(plain, Mapping):
        return {key: _rounded(value) for key, value in plain.items()}
    return [_rounded(each) for each in plain] if isinstance(plain, list | tuple) else plain


def read_result(path: Path) -> dict[str, Any]:
    """Read a result. Raises UserError where there is none."""
    if not path.is_file():
        raise UserError(f"{path}: expected a published result, found no such file")
    result: dict[str, Any] = json.loads(path.read_text())
    return result


def commit() -> str | None:
    """The commit of the checkout that this code stands in; None for an installed package.

    With `-dirty` behind it where files differ from the commit.
    """
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():  # git would look above, and find a user's own repository
        return None
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"],
            cwd=checkout,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()


def machine() -> str:
    """The processor's name, as far as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
