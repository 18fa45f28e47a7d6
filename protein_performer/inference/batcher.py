"""Many sequences through a model: sorted by length, padded, within a budget, in order again.

Everything that a checkpoint is used for goes this way, so that what holds for one use holds for
all: no result depends on batch mates, and a batch that does not fit into memory is halved.

Shapes: B rows, L columns, L_i residues of row i, F features.
"""

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from protein_performer.alphabet import Alphabet
from protein_performer.batch import BOS, EOS, pad_rows
from protein_performer.errors import UserError

BATCH_TOKENS = 8192  # places of one padded batch

Codes = NDArray[np.uint8]
Result = TypeVar("Result")

log = logging.getLogger(__name__)


class PaddedRows(NamedTuple):
    """Sequences as a model reads them: `<bos> residues`, `<eos>` if it reads both ways.

    Attributes:
        tokens: (B, L) int64, on the model's device.
        mask: (B, L) bool, True at tokens; None if there is no padding.
        lengths: L_i of each row.
        ends: whether `<eos>` is behind the residues.
    """

    tokens: Tensor
    mask: Tensor | None
    lengths: list[int]
    ends: bool

    def of_residues(self, output: Tensor, first: int = 1) -> list[Tensor]:
        """The rows of (B, L, F) that belong to residues: column `first` is the first residue's.

        Returns: B of (L_i, F), views.
        """
        return [output[i, first : first + length] for i, length in enumerate(self.lengths)]


def pad(codes: Sequence[Codes], *, ends: bool, device: torch.device) -> PaddedRows:
    """Encoded sequences to rows, as in training.

    Args:
        codes: residues only.
        ends: whether `<eos>` is read.
        device: of the tensors.
    """
    rows = pad_rows([(BOS, each, EOS if ends else b"") for each in codes])
    tokens = torch.from_numpy(rows.astype(np.int64)).to(device)
    lengths = [len(each) for each in codes]
    mask = None if min(lengths) == max(lengths) else tokens != Alphabet.pad
    return PaddedRows(tokens, mask, lengths, ends)


def in_batches(
    lengths: Sequence[int],
    compute: Callable[[list[int]], Sequence[Result]],
    *,
    budget: int = BATCH_TOKENS,
    on_failure: Callable[[int], Result] | None = None,
) -> list[Result]:
    """Compute something of every sequence, in batches of similar length, longest first.

    When memory runs out the budget is halved, until a batch is one sequence.

    Args:
        lengths: residues of each sequence.
        compute: from the indices of a batch to a result of each, in that order.
        budget: the most places of a batch, two special tokens a row included; a longer sequence is
            a batch of its own.
        on_failure: from the index of a sequence that does not fit into memory alone to its result;
            without it that is a UserError.

    Returns: the results in the order of the sequences.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    results: list[tuple[int, Result]] = []
    while len(results) < len(order):
        begin = len(results)
        rows = max(1, budget // (lengths[order[begin]] + 2))
        batch = order[begin : begin + rows]
        values = _unless_out_of_memory(compute, batch)
        if values is not None:
            results += zip(batch, values, strict=True)
        elif len(batch) > 1:
            budget = len(batch) // 2 * (lengths[batch[0]] + 2)
            log.warning("out of memory: going on with at most %s tokens a batch", f"{budget:,}")
        elif on_failure is not None:
            results.append((batch[0], on_failure(batch[0])))
        else:
            raise UserError(
                f"sequence {batch[0]}: {lengths[batch[0]]:,} residues do not fit into memory, alone"
                " in a batch. Compute on a larger device, or cut the sequence."
            )
    return [result for _, result in sorted(results, key=lambda each: each[0])]


def _unless_out_of_memory(
    compute: Callable[[list[int]], Sequence[Result]], batch: list[int]
) -> Sequence[Result] | None:
    """None if memory runs out; what the attempt held is free again when this returns."""
    try:
        return compute(batch)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        return None


def _is_out_of_memory(error: Exception) -> bool:
    """PyTorch has an exception of its own for GPUs; the CPU's allocator has a message only."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return "can't allocate memory" in str(error) or "out of memory" in str(error)
