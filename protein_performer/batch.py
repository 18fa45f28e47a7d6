"""What data hands to a model: the whole contract between the two.

Shapes: B batch, L positions.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from protein_performer.alphabet import Alphabet

IGNORE = -100  # a target that no loss and no metric counts (the default of F.cross_entropy)
BOS, EOS = bytes([Alphabet.bos]), bytes([Alphabet.eos])  # parts of a row, for `pad_rows`


class Batch(NamedTuple):
    """Proteins of one batch, padded on the right to the longest.

    Attributes:
        inputs: (B, L) int64 token codes, with `<bos>` before the residues; what the model reads.
        targets: (B, L) int64 token codes that the model's row is scored against, IGNORE elsewhere.
        mask: (B, L) bool, True at tokens, False at padding.
        records: (B,) int64, the index of each protein in its split.
    """

    inputs: Tensor
    targets: Tensor
    mask: Tensor
    records: Tensor


def pad_rows(rows: Sequence[Sequence[bytes | NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """Rows of tokens, padded on the right with `<pad>` to the longest.

    Args:
        rows: B rows, each the parts (bytes or uint8 codes) that stand in it one after another, such
            as `(BOS, residues, EOS)`.

    Returns: (B, L) uint8.

    >>> pad_rows([(BOS, Alphabet().encode("MK"), EOS), (BOS, Alphabet().encode("W"))])
    array([[ 1, 14, 12,  2],
           [ 1, 22,  0,  0]], dtype=uint8)
    """
    widths = [sum(map(len, row)) for row in rows]
    padding = bytes([Alphabet.pad]) * max(widths)
    parts: list[Any] = []
    for row, width in zip(rows, widths, strict=True):
        parts += row
        parts.append(padding[width:])
    # Joined once: an array filled row by row takes twice as long.
    return np.frombuffer(bytearray().join(parts), dtype=np.uint8).reshape(len(rows), -1)
