"""How long proteins are: the figures of the Performer paper's Table 1, of any split.

Shapes: L the longest protein's residues.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Lengths:
    """A distribution of lengths, in residues."""

    proteins: int
    min: int
    max: int
    mean: float
    std: float  # of the proteins themselves, divided by their number
    median: float


# Choromanski et al. 2021, arXiv:2009.14794, appendix C.1, Table 1: TrEMBL of January 2019.
PAPER = {
    "train": Lengths(104_863_744, 2, 74_488, 353.09, 311.16, 289),
    "val": Lengths(102_400, 7, 11_274, 353.62, 307.42, 289),
    "test": Lengths(1_033_216, 8, 32_278, 353.96, 312.23, 289),
    "ood": Lengths(29_696, 24, 4_208, 330.96, 269.86, 200),
}


def describe_lengths(counts: NDArray[np.int64]) -> Lengths | None:
    """The distribution of (L + 1,) numbers of proteins of each length; None if there is none."""
    proteins = int(counts.sum())
    if not proteins:
        return None
    length, present = np.arange(len(counts)), np.flatnonzero(counts)
    mean = float(counts @ length) / proteins
    # The two in the middle, which are one where the number is odd.
    middle = np.searchsorted(np.cumsum(counts), [(proteins - 1) // 2 + 1, proteins // 2 + 1])
    return Lengths(
        proteins=proteins,
        min=int(present[0]),
        max=int(present[-1]),
        mean=mean,
        std=float(np.sqrt(counts @ (length - mean) ** 2 / proteins)),
        median=float(middle.mean()),
    )
