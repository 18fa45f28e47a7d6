"""A model trained on proteins, as `python train.py` does it in a checkout.

Overrides are those of train.py: `protein-performer train --help` lists the choices. Your own
configs are found with `--config-dir FOLDER`. Where no data are named, and there is no `data/`
here, it is the sample that comes with the package.

  protein-performer train model=performer_relu objective=causal size=tiny
"""

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
SAMPLE, CLUSTERS = "trembl_sample.fasta.gz", "trembl_sample_clusters.tsv.gz"


def forward(words: Sequence[str]) -> None:
    """Run train.py with these words of the command line. Raises: SystemExit, as it does."""
    script = PACKAGE / "train.py"  # in a wheel; in a checkout it stands beside the package
    if not script.is_file():
        script = PACKAGE.parent / "train.py"
    # Ranks and jobs of a sweep are started by what stands in sys.argv.
    sys.argv = [str(script), *words, *_sample(words)]
    runpy.run_path(str(script), run_name="__main__")


def _sample(words: Sequence[str]) -> list[str]:
    """Overrides for the sample of a wheel, unless there are other data."""
    folder = PACKAGE / "sample"
    named = any(word.startswith(("data=", "data.", "experiment=")) for word in words)
    if named or (Path("data") / SAMPLE).is_file() or not folder.is_dir():
        return []
    return [
        f"data.sources=[{folder / SAMPLE}]",
        f"data.splits.clusters={folder / CLUSTERS}",
        "data.cache_dir=logs/prepared",  # the package's folder may not be writable
    ]
