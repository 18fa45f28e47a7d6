"""Arrays to figures. No torch, no models: anything that can make the arrays can make the picture.

Figures are built with matplotlib's object interface, so no display and no global state is touched.

Shapes: V vocabulary, of which the letters are drawn.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray


def confusion_figure(confusion: NDArray[np.integer], letters: str, title: str) -> Figure:
    """What the model says where each residue stands, and how often it is right.

    Args:
        confusion: (len(letters), len(letters)) counts, rows the true residue, columns the guess.
        letters: of the rows and columns.
        title: above the picture.
    """
    totals = confusion.sum(1)
    shares = confusion / np.maximum(totals, 1)[:, None]
    figure = Figure(figsize=(11, 5), layout="constrained")
    matrix, bars = figure.subplots(1, 2, width_ratios=(1.2, 1))
    image = matrix.imshow(shares, cmap="viridis", vmin=0, vmax=max(0.3, float(shares.max())))
    figure.colorbar(image, ax=matrix, label="share of the row")
    matrix.set_xticks(range(len(letters)), list(letters))
    matrix.set_yticks(range(len(letters)), list(letters))
    matrix.set(xlabel="predicted", ylabel="true", title="confusion")
    bars.bar(range(len(letters)), np.diag(shares), label="accuracy")
    frequency = totals / max(int(totals.sum()), 1)
    bars.plot(range(len(letters)), frequency, "k_", markersize=10, label="frequency")
    bars.set_xticks(range(len(letters)), list(letters))
    bars.set(xlabel="true residue", title="accuracy per residue")
    bars.legend()
    figure.suptitle(title)
    return figure


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
    axes.legend()
    return figure
