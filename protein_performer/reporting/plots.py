"""Arrays to figures. No torch, no models: anything that can make the arrays can make the picture.

Figures are built with matplotlib's object interface, so no display and no global state is touched.

Shapes: V vocabulary, of which the letters are drawn.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray


def confusion_figure(
    confusion: NDArray[np.integer],
    letters: Sequence[str],
    title: str,
    *,
    unit: str = "residue",
    most: int = 40,
) -> Figure:
    """What the model says where each residue stands, and how often it is right.

    Both against a guess by frequency. The matrix shows by how much a letter is predicted more often
    where that residue stands than it is over all residues: as it is, each row would be much like
    the next, and like the frequencies. Letters that never stand in a text have no row or column.

    Args:
        confusion: (len(letters), len(letters)) counts, rows the true residue, columns the guess.
        letters: names of the rows and columns.
        title: above the picture.
        unit: what a letter stands for.
        most: letters that can be read in one picture; of more, the most frequent are drawn.
    """
    totals = confusion.sum(1)
    everything = max(int(totals.sum()), 1)
    frequent = np.argsort(-totals, kind="stable")[:most]
    shown = np.sort(frequent[totals[frequent] > 0])
    if len(shown) < np.count_nonzero(totals):
        share = totals[shown].sum() / everything
        title += f"; the {most} most frequent {unit}s, {share:.1%} of all"
    letters, totals = [letters[i] for i in shown.tolist()], totals[shown]
    shares = confusion[np.ix_(shown, shown)] / np.maximum(totals, 1)[:, None]
    guessed = confusion.sum(0)[shown] / everything
    figure = Figure(figsize=(12, 5), layout="constrained")
    matrix, bars = figure.subplots(1, 2, width_ratios=(1.1, 1))
    _draw_excess(matrix, 100 * (shares - guessed), letters)
    _draw_accuracies(bars, np.diag(shares), totals / everything, letters, unit)
    figure.suptitle(title)
    return figure


def _draw_excess(axes: Axes, excess: NDArray[np.floating], letters: Sequence[str]) -> None:
    limit = max(1.0, float(np.abs(excess).max(initial=0.0)))
    image = axes.imshow(excess, cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes.figure.colorbar(image, ax=axes, label="predicted more often than overall, % points")
    axes.set_xticks(range(len(letters)), letters, rotation=_rotation(letters))
    axes.set_yticks(range(len(letters)), letters)
    axes.set(xlabel="predicted", ylabel="true", title="confusion")


def _draw_accuracies(
    axes: Axes,
    accuracies: NDArray[np.floating],
    frequencies: NDArray[np.floating],
    letters: Sequence[str],
    unit: str,
) -> None:
    place = range(len(letters))
    axes.bar(place, accuracies, label="model")
    axes.plot(place, frequencies, "k_", markersize=10, label="guess drawn\nby frequency")
    axes.set_xticks(place, letters, rotation=_rotation(letters))
    axes.set(xlabel=f"true {unit}", title=f"accuracy per {unit}")
    _legend_beside(axes)


def _rotation(letters: Sequence[str]) -> float:
    return 90 if max(map(len, letters), default=0) > 1 else 0


def _legend_beside(axes: Axes) -> None:
    """A legend that hides nothing."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0, frameon=False)


def curves_figure(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], xlabel: str, ylabel: str
) -> Figure:
    """Named curves, each as (x, y)."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, (x, y) in curves.items():
        axes.plot(x, y, label=name, marker="." if len(x) < 20 else None)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(alpha=0.3)
    _legend_beside(axes)
    return figure


def proteins_figure(
    length_counts: Mapping[str, NDArray[np.integer]],
    shares: Mapping[str, Mapping[str, float]],
    marks: Mapping[str, float],
    title: str,
) -> Figure:
    """How long the proteins of each split are, and of which residues they are made.

    Args:
        length_counts: split -> (longest + 1,) number of proteins of each length; empty splits are
            left out.
        shares: split -> letter -> share of its residues.
        marks: name -> a length, drawn as an upright line.
        title: above the picture.
    """
    figure = Figure(figsize=(11, 8), layout="constrained")
    lengths, residues = figure.subplots(2, 1)
    present = {name: counts for name, counts in length_counts.items() if counts.any()}
    shortest = max(1, min(int(np.flatnonzero(counts)[0]) for counts in present.values()))
    longest = max(map(len, present.values()))
    edges = np.unique(np.geomspace(shortest, longest + 1, 45).astype(np.int64))
    for name, counts in present.items():
        here = np.histogram(np.arange(len(counts)), edges, weights=counts)[0]
        # A share for each doubling of the length: the area below a curve is 1 on the log axis.
        density = here / here.sum() / np.diff(np.log2(edges))
        lengths.stairs(density, edges, label=f"{name} ({int(counts.sum()):,})", linewidth=1.5)
    for (name, length), style in zip(marks.items(), ("--", ":", "-."), strict=False):
        lengths.axvline(length, color="k", linestyle=style, linewidth=1, label=f"{name} {length:g}")
    lengths.set_xscale("log")
    lengths.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    lengths.set(xlabel="residues of a protein", ylabel="share of proteins per doubling")
    _legend_beside(lengths)
    width = 0.8 / len(present)
    for number, name in enumerate(present):
        letters = list(shares[name])
        place = np.arange(len(letters)) + (number - (len(present) - 1) / 2) * width
        residues.bar(place, [100 * share for share in shares[name].values()], width, label=name)
    residues.set_xticks(range(len(letters)), letters)
    residues.margins(x=0.01)
    residues.set(xlabel="residue", ylabel="share of residues, %")
    _legend_beside(residues)
    figure.suptitle(title)
    return figure
