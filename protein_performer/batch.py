"""What data hands to a model: the whole contract between the two.

Shapes: B batch, L positions.
"""

from typing import NamedTuple

from torch import Tensor

IGNORE = -100  # a target that no loss and no metric counts (the default of F.cross_entropy)


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
