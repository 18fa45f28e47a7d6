"""From hidden states of every token to what an embedding is.

Shapes: L_i residues of sequence i, E model width.
"""

from collections.abc import Sequence
from typing import Literal, get_args

from torch import Tensor

from protein_performer.errors import UserError
from protein_performer.inference.batcher import PaddedRows

Pooling = Literal["mean", "max", "bos", "eos", "residue"]


def check_pooling(pooling: str, causal: bool) -> None:
    """Raise UserError for a pooling that there is not, or that says nothing of a protein."""
    if pooling not in get_args(Pooling):
        raise UserError(
            f"pooling: expected {', '.join(get_args(Pooling)[:-1])} or residue, got {pooling!r}"
        )
    if pooling == "bos" and causal:
        raise UserError(
            "pooling=bos: a causal model has seen nothing of the protein at <bos>, so that all"
            " embeddings would be the same. Take eos, mean or max."
        )


def pool(states: Tensor, rows: PaddedRows, pooling: Pooling) -> list[Tensor]:
    """One embedding of each row.

    `mean` and `max` are over residues, of each coordinate; `residue` is one row a residue; `bos`
    and `eos` are the states at these tokens. A causal model reads no `<eos>`: there `eos` is the
    state at the last residue, which the end is predicted from.

    Args:
        states: (B, L, E).
        rows: that the states are of.
        pooling: which.

    Returns: (E,) of each, or (L_i, E), views where they can be.
    """
    if pooling == "bos":
        return list(states[:, 0])
    if pooling == "eos":
        return [states[i, n + rows.ends] for i, n in enumerate(rows.lengths)]
    residues = rows.of_residues(states)
    if pooling == "residue":
        return residues
    return [pool_residues(each, pooling) for each in residues]


def pool_residues(states: Tensor, pooling: Pooling) -> Tensor:
    """(L_i, E) to (E,) by `mean` or `max`."""
    return states.amax(0) if pooling == "max" else states.mean(0)


def join_windows(
    parts: Sequence[Tensor], begins: Sequence[int], length: int, pooling: Pooling
) -> Tensor:
    """The embedding of a protein from those of its windows.

    Args:
        parts: (window, E) of each window with `residue`, `mean` and `max`; (E,) with `bos`, `eos`.
        begins: the first residue of each window.
        length: L_i.
        pooling: of the result. Where windows overlap, residues are averaged.

    Returns: as of `pool`.
    """
    if pooling in ("bos", "eos"):
        return sum(parts[1:], start=parts[0]) / len(parts)
    sums = parts[0].new_zeros(length, parts[0].shape[1])
    counts = sums.new_zeros(length, 1)
    for begin, part in zip(begins, parts, strict=True):
        sums[begin : begin + len(part)] += part
        counts[begin : begin + len(part)] += 1
    states = sums / counts
    return states if pooling == "residue" else pool_residues(states, pooling)


def window_begins(length: int, window: int) -> list[int]:
    """The first residues of windows that overlap by half; the last one ends with the protein.

    >>> window_begins(10, 4)
    [0, 2, 4, 6]
    >>> window_begins(7, 4)
    [0, 2, 3]
    """
    if length <= window:
        return [0]
    return [*range(0, length - window, max(1, window // 2)), length - window]
