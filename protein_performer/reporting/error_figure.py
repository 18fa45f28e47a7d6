"""Errors of random features as pictures: measured points on the theory's lines."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]

_COLOURS = {
    "trigonometric": "tab:orange",
    "softmax": "tab:blue",
    "hyperbolic": "tab:green",
    "favor++": "tab:red",
}
_DASHES = {"iid": ":", "orthogonal": "-", "simplex": "--"}


def approximation_figure(measured: Mapping[str, Rows]) -> Figure:
    """Kernel errors, the regularised kernel, attention's errors by size of its inputs, and depth.

    Args:
        measured: rows of `utility`, `lower_bound`, `attention` and `depth`.
    """
    stds = sorted({row["std"] for row in measured["attention"]})
    figure = Figure(figsize=(4.2 * len(stds), 8.5), layout="constrained")
    upper = figure.subplots(2, len(stds))
    _utility(upper[0, 0], measured["utility"])
    _lower_bound(upper[0, 1], measured["lower_bound"])
    _depth(upper[0, 2], measured["depth"])
    for spare in upper[0, 3:]:
        spare.axis("off")
    for axes, std in zip(upper[1], stds, strict=True):
        _attention(axes, [row for row in measured["attention"] if row["std"] == std], std)
    handles, labels = upper[1, 0].get_legend_handles_labels()
    upper[0, -1].legend(handles, labels, loc="center", fontsize=8)
    return figure


def _groups(rows: Rows, *keys: str) -> Iterable[tuple[tuple[Any, ...], list[Mapping[str, Any]]]]:
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return groups.items()


def _utility(axes: Axes, rows: Rows) -> None:
    for (length,), group in _groups(rows, "length"):
        angles = [row["angle"] for row in group if row["theory"] > 0]
        (line,) = axes.plot(
            angles, [row["theory"] for row in group if row["theory"] > 0], label=f"|x| = {length:g}"
        )
        points = [row["measured"] for row in group if row["theory"] > 0]
        axes.plot(angles, points, "o", color=line.get_color(), markersize=4)
    axes.axhline(1, color="grey", linewidth=1)
    axes.set(
        yscale="log",
        xlabel="angle between x and y",
        ylabel="MSE trigonometric / MSE positive",
        title="Figure 2: lines theory, points measured",
    )
    axes.legend(fontsize=8)


def _lower_bound(axes: Axes, rows: Rows) -> None:
    for (dim,), group in _groups(rows, "dim"):
        lengths = [row["length"] for row in group]
        (line,) = axes.plot(lengths, [row["closed_form"] for row in group], label=f"D = {dim}")
        axes.errorbar(
            lengths,
            [row["measured"] for row in group],
            [row["four_errors"] for row in group],
            fmt="o",
            color=line.get_color(),
            markersize=4,
        )
    axes.axhline(1, color="grey", linewidth=1)
    axes.set(xlabel="|x|, y = x", ylabel="SMREG / softmax kernel", title="Theorem 1: a lower bound")
    axes.legend(fontsize=8)


def _depth(axes: Axes, rows: Rows) -> None:
    axes.errorbar(
        [row["layers"] for row in rows],
        [row["error"] for row in rows],
        [2 * row["standard_error"] for row in rows],
        marker="o",
        markersize=4,
    )
    axes.set(
        xlabel="layers", ylabel="relative error of the hidden states", title="Figure 14: depth"
    )
    axes.set_ylim(bottom=0)


def _attention(axes: Axes, rows: Rows, std: float) -> None:
    uniform = next(row["error"] for row in rows if row["map"] == "uniform")
    for (name, coupling), group in _groups(rows, "map", "coupling"):
        if name == "uniform":
            axes.axhline(uniform, color="grey", linewidth=1, label="uniform attention")
            continue
        axes.plot(
            [row["features"] for row in group],
            [row["error"] for row in group],
            color=_COLOURS[name],
            linestyle=_DASHES[coupling],
            label=f"{name}, {coupling}",
        )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="features",
        ylabel="MSE of attention's output",
        title=f"Figure 4: q and k of std {std:g}",
    )
    numbers = sorted({row["features"] for row in rows if row["map"] != "uniform"})
    axes.set_xticks(numbers, [str(number) for number in numbers])
    axes.minorticks_off()
