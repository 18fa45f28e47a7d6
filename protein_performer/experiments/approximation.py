"""How well FAVOR+ approximates exact attention: figures 2, 4 and 14 of the paper, and theorem 1.

Settings are the paper's where it names them (L = 4096, D = 16, 15 samples). It does not say how its
random inputs were normalised. That decides the outcome, so ours come in four sizes.
"""

import math
from typing import Any

from matplotlib.figure import Figure

from protein_performer.experiments.measures.attention_error import against_depth, against_features
from protein_performer.experiments.measures.kernel_error import lower_bound, utility
from protein_performer.reporting.error_figure import approximation_figure

STDS = (0.25, 0.5, 1.0, 1.5)


def run(*, seed: int, quick: bool) -> dict[str, Any]:
    """Measure; `quick` takes a tenth of the draws and is for trying the command out."""
    draws, samples = (200, 2) if quick else (20_000, 15)
    features = [16, 32, 64, 128, 256, 512]
    return {
        "utility": utility(
            [0.25, 0.5, 0.75, 1.0],
            [math.pi * step / 8 for step in range(8)],
            dim=16,
            draws=draws,
            seed=seed,
        ),
        "lower_bound": lower_bound(
            [0.25, 0.5, 1.0, 1.5], [16, 64, 128], draws=draws // 10, seed=seed
        ),
        "attention": [
            {"std": std, **row}
            for std in STDS
            for row in against_features(
                features, length=4096, dim=16, std=std, samples=samples, seed=seed
            )
        ],
        "depth": against_depth(
            [1, 2, 3, 4, 6, 8, 12],
            length=1024,
            d_model=128,
            num_heads=4,
            num_features=256,
            samples=samples,
            seed=seed,
        ),
    }


def figure(measured: dict[str, Any]) -> Figure:
    """The picture of what `run` returned."""
    return approximation_figure(measured)


def findings(measured: dict[str, Any]) -> list[str]:
    """What came out, a line each, for the console."""
    lines = []
    for std in STDS:
        rows = [row for row in measured["attention"] if row["std"] == std]
        uniform = next(row["error"] for row in rows if row["map"] == "uniform")
        most = max(row["features"] for row in rows)
        best = sorted((row for row in rows if row["features"] == most), key=lambda r: r["error"])
        ranked = ", ".join(
            f"{row['map']} {row['coupling']} {row['error'] / uniform:.2g}" for row in best[:4]
        )
        lines.append(
            f"q and k of std {std:g}, {most} features, error over that of uniform attention:"
            f" {ranked}; ...; {best[-1]['map']} {best[-1]['coupling']}"
            f" {best[-1]['error'] / uniform:.2g}"
        )
    first, last = measured["depth"][0], measured["depth"][-1]
    lines.append(
        f"relative error of hidden states: {first['error']:.3f} with {first['layers']} layer,"
        f" {last['error']:.3f} with {last['layers']}"
    )
    return lines
