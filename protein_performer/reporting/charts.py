"""Runs to interactive charts, as plain JSON for plotly's script in a page.

Colours of text and grid are the page's, which follow light and dark; here are those of curves.
"""

import html
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from protein_performer.reporting.runs import Group, Run

_COLOURS = (  # Okabe and Ito's: told apart by the colour-blind, on light and on dark
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C8C8C", "#B8A200"),
)
_AXES = {"steps": None, "residues": "train/residues", "seconds": "train/seconds"}
_SETS = {"test": "test", "ood": "OOD"}
_MARGIN = {"l": 60, "r": 10, "t": 40, "b": 45}


def learning_curves(groups: Sequence[Group], name: str, title: str) -> str:
    """A curve of every run; `axes` beside the figure has the x of each, for buttons that choose."""
    figure = go.Figure()
    axes: dict[str, list[list[float]]] = {axis: [] for axis in _AXES}
    for number, group in enumerate(groups):
        for run in group.runs:
            curve = run.training_curve(name)
            steps = [float(step + 1) for step, _ in curve]
            figure.add_scatter(
                x=steps,
                y=[value for _, value in curve],
                mode="lines+markers" if len(curve) < 20 else "lines",
                name=group.label,
                legendgroup=group.label,
                showlegend=run is group.runs[0],
                line={"color": _colour(number)},
                hovertemplate="%{y:.3f} at %{x:,}",
            )
            for axis, column in _AXES.items():
                axes[axis].append(_abscissa(run, steps, column))
    figure.update_layout(xaxis={"title": {"text": "steps"}}, yaxis={"title": {"text": title}})
    return _as_json(figure, axes={axis: x for axis, x in axes.items() if all(x)})


def results_chart(groups: Sequence[Group]) -> str:
    """Test and OOD perplexity of each group, with the 95 % interval over its seeds."""
    figure = go.Figure()
    for number, (name, title) in enumerate(_SETS.items()):
        found = [(group.label, group.interval(f"{name}/perplexity")) for group in groups]
        shown = [(label, interval) for label, interval in found if interval is not None]
        widths = [0.0 if math.isnan(i.half_width) else i.half_width for _, i in shown]
        figure.add_scatter(
            x=[interval.mean for _, interval in shown],
            y=[_broken(label) for label, _ in shown],
            error_x={"type": "data", "array": widths},
            mode="markers",
            marker={"size": 9, "color": _colour(number)},
            name=title,
        )
    figure.update_layout(
        xaxis={"title": {"text": "perplexity"}},
        yaxis={"automargin": True, "autorange": "reversed"},
        height=140 + 60 * len(groups),
    )
    return _as_json(figure, legend_at=1.15)


def letters_chart(groups: Sequence[Group]) -> str:
    """How often each letter was right where it stood in the test set, all seeds together."""
    figure = go.Figure()
    for number, group in enumerate(groups):
        counts: dict[str, list[int]] = {}
        for run in group.runs:
            for letter, (asked, right) in run.letters.get("test", {}).items():
                total = counts.setdefault(letter, [0, 0])
                total[0], total[1] = total[0] + asked, total[1] + right
        figure.add_bar(
            x=list(counts),
            y=[100 * right / asked for asked, right in counts.values()],
            name=group.label,
            marker={"color": _colour(number)},
        )
    figure.update_layout(yaxis={"title": {"text": "accuracy, %"}}, barmode="group")
    return _as_json(figure)


def cost_chart(groups: Sequence[Group]) -> str:
    """Speed and peak memory of each group."""
    figure = go.Figure()
    labels = [_broken(group.label) for group in groups]
    speeds = [_mean([_speed(run) for run in group.runs]) for group in groups]
    memory = [group.interval("train/peak_memory_bytes") for group in groups]
    figure.add_bar(y=labels, x=speeds, orientation="h", name="residues/s")
    figure.add_bar(
        y=labels,
        x=[None if each is None else each.mean / 2**20 for each in memory],
        orientation="h",
        name="peak memory, MiB",
        xaxis="x2",
    )
    figure.update_layout(
        xaxis={"title": {"text": "residues/s"}, "domain": [0, 0.47]},
        xaxis2={"title": {"text": "peak memory, MiB"}, "domain": [0.53, 1], "anchor": "y"},
        yaxis={"automargin": True, "autorange": "reversed"},
        height=140 + 60 * len(groups),
        barmode="overlay",
        showlegend=False,
    )
    return _as_json(figure)


def _abscissa(run: Run, steps: Sequence[float], column: str | None) -> list[float]:
    """Where the steps lie on an axis that is logged less often than they are."""
    if column is None:
        return list(steps)
    known = run.curve(column)
    if not known:
        return []
    at, values = zip(*[(0.0, 0.0), *((step + 1.0, value) for step, value in known)], strict=True)
    return [float(each) for each in np.interp(steps, at, values)]


def _speed(run: Run) -> float | None:
    if run.metrics is None:
        return None
    letters = run.metrics.get("train/residues", run.metrics.get("train/bytes", 0))
    return float(letters) / max(float(run.metrics["train/seconds"]), 1e-9)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _broken(label: str) -> str:
    """In lines: beside an axis there is little room."""
    return "<br>".join(html.escape(each) for each in label.split(", "))


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _as_json(figure: go.Figure, *, legend_at: float = -0.25, **beside: Any) -> str:
    figure.update_layout(
        template="none",
        margin=_MARGIN,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "y": legend_at},
        font={"family": "inherit"},
    )
    plain: dict[str, Any] = {**json.loads(figure.to_json()), **beside}
    return json.dumps(plain).replace("</", "<\\/")  # it will stand in a script element
