"""Attention as pictures: matrices of heads, residues that heads treat alike, errors by layer.

Shapes: H heads, L tokens, A residues.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from protein_performer.files import replacing


def maps_figure(maps: NDArray[np.floating], title: str) -> Figure:
    """A picture of each head, a row of them for each layer.

    Args:
        maps: (layers, H, L, L); row i of a matrix says what token i looks at.
        title: above all.
    """
    layers, heads = maps.shape[:2]
    figure = Figure(figsize=(1.9 * heads + 0.6, 1.9 * layers + 0.8), layout="constrained")
    axes = figure.subplots(layers, heads, squeeze=False)
    for layer in range(layers):
        for head in range(heads):
            matrix = maps[layer, head]
            # The darkest hundredth would else set the scale alone.
            brightest = max(float(np.quantile(matrix, 0.995)), 1e-9)
            here = axes[layer, head]
            here.imshow(matrix, cmap="viridis", vmin=0, vmax=brightest, interpolation="nearest")
            here.set_title(f"layer {layer + 1}, head {head + 1}", fontsize=8)
            here.tick_params(labelsize=6)
    figure.supxlabel("token that is looked at", fontsize=9)
    figure.supylabel("token that looks", fontsize=9)
    figure.suptitle(title)
    return figure


def save_maps(path: Path, maps: Mapping[str, Any]) -> None:
    """Write named arrays into a compressed .npz file."""
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **maps)


def similarity_figure(
    letters: str, similarity: NDArray[np.floating], blosum: NDArray[np.floating], title: str
) -> Figure:
    """Two (A, A) matrices side by side, each without its diagonal: a residue is like itself."""
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    pairs = (("similarity by attention", similarity), ("BLOSUM62", blosum))
    for axes, (name, matrix) in zip(figure.subplots(1, 2), pairs, strict=True):
        shown = np.where(np.eye(len(letters), dtype=bool), np.nan, matrix)
        image = axes.imshow(shown, cmap="viridis")
        figure.colorbar(image, ax=axes, shrink=0.8)
        axes.set_xticks(range(len(letters)), letters)
        axes.set_yticks(range(len(letters)), letters)
        axes.set_title(name)
    figure.suptitle(title)
    return figure


def layers_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Errors against exact attention by layer, for each map and number of features.

    Args:
        rows: of `layer`, `map`, `features` and `error`; the map `uniform` is the line to beat.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, number in dict.fromkeys((row["map"], row["features"]) for row in rows):
        of_map = [row for row in rows if (row["map"], row["features"]) == (name, number)]
        style = {"color": "black", "linewidth": 2} if name == "uniform" else {"marker": "."}
        label = "uniform attention" if name == "uniform" else f"{name}, {number} features"
        axes.plot(
            [row["layer"] for row in of_map], [row["error"] for row in of_map], label=label, **style
        )
    axes.set(yscale="log", xlabel="layer", ylabel="|approximate - exact| / |exact|")
    axes.set_xticks(sorted({row["layer"] for row in rows}))
    figure.legend(loc="outside right upper", fontsize=8)
    return figure
