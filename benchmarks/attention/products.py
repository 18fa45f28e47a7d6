"""How much arithmetic FAVOR+ executes on a CPU: the numerator of its share of the machine's peak.

Shapes: H heads, L positions, D head width, M features, E = D + 1, C positions of a chunk,
P positions rounded up to whole chunks.
"""

from typing import NamedTuple

from protein_performer.attention.favor.cpu import causal as linear_causal


class Operations(NamedTuple):
    """Additions and multiplications inside matrix products."""

    forward: int
    backward: int


def favor_operations(
    causal: bool, length: int, *, heads: int, head_dim: int, num_features: int
) -> Operations:
    """Operations of the matrix products that one call and its gradient execute, one row.

    As executed: features are computed again for the gradient, and the half of each chunk's scores
    that is masked is computed, too. Everything else (exponentials, maxima, scalings, copies) counts
    as nothing, so the share of the peak is that of useful products in all of the time.

    Bidirectional, of each position and feature, in products of the width given:
        forward   project k (D), sum values (E); project q (D), read sums (E)
        backward  project q (D), gradient of sums (E), of phi(q) (E), of q (D);
                  project k (D), gradient of phi(k) (E), of values (D), of k (D)
    Causal, where scores within a chunk are C wide:
        forward   project q and k (2 D), add to states (E), read states (E), scores (C),
                  and for each position: scores times values (C D)
        backward  project q and k (2 D), gradient of states (E), of values by states (D), of phi(k)
                  by states (E) and by scores (C), of k (D), of phi(q) by states (E) and by scores
                  (C), of q (D), and for each position: gradient of scores (C E), of values by
                  scores (C D)
    """
    d, e, m = head_dim, head_dim + 1, num_features
    if not causal:
        forward, backward = m * (2 * d + 2 * e), m * (5 * d + 3 * e)
        positions = length
    else:
        c = linear_causal.chunk_length(length, head_dim)
        positions = -(-length // c) * c
        forward = m * (2 * d + 2 * e + c) + c * d
        backward = m * (5 * d + 3 * e + 2 * c) + c * (e + d)
    return Operations(2 * heads * positions * forward, 2 * heads * positions * backward)
