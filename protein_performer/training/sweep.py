"""After a Hydra multirun: one table of all its runs."""

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from pytorch_lightning.utilities import rank_zero_only
from typing_extensions import override

from protein_performer.reporting.tables import METRICS_FILE, comparison_table, make_console


class CompareRuns(Callback):
    """Prints the comparison of a sweep's finished runs, and how to print it again."""

    @override
    @rank_zero_only  # ranks that were started from outside each go through the sweep
    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        sweep_dir = Path(config.hydra.sweep.dir)
        run_dirs = sorted(path.parent for path in sweep_dir.glob(f"*/{METRICS_FILE}"))
        if not run_dirs:
            return
        console = make_console()
        console.print(comparison_table(run_dirs))
        console.print(f"Again: protein-performer compare {sweep_dir}/*", soft_wrap=True)
