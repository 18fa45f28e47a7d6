"""After a Hydra multirun: one table of all its runs, also of those that failed."""

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from pytorch_lightning.utilities import rank_zero_only
from typing_extensions import override

from protein_performer.addresses import public_text
from protein_performer.files import replacing
from protein_performer.reporting.runs import read_runs
from protein_performer.reporting.status import STATUS_FILE, read_status
from protein_performer.reporting.tables import comparison_table, make_console, unfinished_lines

_SWEEP_FILE = "multirun.yaml"


def _write_page(run_dirs: list[Path], sweep_dir: Path) -> Path | None:
    """The sweep's page; None without the extra that draws it."""
    try:
        from protein_performer.reporting.page import write_page
    except ImportError:
        return None
    path = sweep_dir / "report.html"
    write_page(read_runs(run_dirs), path, title=sweep_dir.name)
    return path


class CompareRuns(Callback):
    """Prints a sweep's table as it ends; exit code 1 where a run did not finish."""

    @override
    @rank_zero_only
    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Take passwords out of what Hydra writes about the sweep."""
        path = Path(config.hydra.sweep.dir) / _SWEEP_FILE
        if path.is_file() and (text := path.read_text()) != public_text(text):
            with replacing(path) as partial:
                partial.write_text(public_text(text))

    @override
    @rank_zero_only  # ranks that were started from outside each go through the sweep
    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        sweep_dir = Path(config.hydra.sweep.dir)
        run_dirs = sorted(path.parent for path in sweep_dir.glob(f"**/{STATUS_FILE}"))
        if not run_dirs:
            return
        console = make_console()
        console.print(comparison_table(run_dirs))
        for line in unfinished_lines(run_dirs):
            console.print(line, soft_wrap=True, markup=False)
        page = _write_page(run_dirs, sweep_dir)
        if page is not None:
            console.print(f"Page: {page}", soft_wrap=True, highlight=False)
        console.print(f"Again: protein-performer compare {sweep_dir}/*", soft_wrap=True)
        states = [status.state for path in run_dirs if (status := read_status(path))]
        unfinished = len(states) - states.count("finished")
        if unfinished:
            sys.exit(f"{unfinished} of {len(states)} runs did not finish: see above")
