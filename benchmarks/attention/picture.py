"""Time and memory against length, one panel a direction, on logarithmic axes."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.attention.measure import Measured
from benchmarks.attention.mechanisms import BOTH, MECHANISMS
from benchmarks.timing import Key, spread

PICTURE_SUFFIXES = (".png", ".pdf", ".svg")


def draw(measured: Measured, path: Path) -> None:
    """Write the picture; the file's ending gives its format."""
    figure = Figure(figsize=(11, 8), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True, sharey="row")
    for column, direction in enumerate(BOTH):
        times = {key: 1000 * spread(s).median for key, s in measured.seconds.items()}
        memory = {key: spread(p).median / 1e6 for key, p in measured.peak_bytes.items()}
        _curves(panels[0, column], times, direction)
        _curves(panels[1, column], memory, direction)
        panels[0, column].set_title(direction)
        panels[1, column].set_xlabel("length, positions")
        panels[0, column].legend(fontsize="small")
    panels[0, 0].set_ylabel("forward + backward, ms")
    panels[1, 0].set_ylabel("peak memory, MB")
    figure.savefig(path, dpi=150)


def _curves(axes: Axes, values: dict[Key, float], direction: str) -> None:
    """A colour for each of ours, in all panels; a rival is a line of the same colour."""
    ours = [name for name, mechanism in MECHANISMS.items() if mechanism.rival_of is None]
    lengths: set[int] = set()
    for name, mechanism in MECHANISMS.items():
        points = [
            (key.length, value)
            for key, value in values.items()
            if key.section == direction and key.name == name and value > 0
        ]
        if points:
            x, y = zip(*sorted(points), strict=True)
            lengths.update(x)
            colour = f"C{ours.index(mechanism.rival_of or name)}"
            style = "--" if mechanism.is_peer else ":" if mechanism.rival_of else "-"
            marker = "o" if mechanism.requires is None else "s"
            axes.plot(x, y, style, marker=marker, markersize=4, label=name, color=colour)
    axes.set(xscale="log", yscale="log")
    axes.set_xticks(sorted(lengths), [str(length) for length in sorted(lengths)])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
