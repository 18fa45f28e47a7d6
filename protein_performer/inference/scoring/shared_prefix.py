"""Variants of one protein through a causal model: what they share is read once.

Up to its first mutation a variant is the wild type, so its likelihood goes on from the state there.
Of mutations spread evenly that is half of all tokens; of those near the end nearly all.

Shapes: B rows, L residues of the wild type, V vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from protein_performer.attention.protocol import selected
from protein_performer.inference.batched_model import BatchedModel
from protein_performer.inference.batcher import Codes

# How much earlier than its own first mutation a variant may begin, as a share of what follows: the
# fewer groups, the fewer and larger batches.
_EARLIER = 1 / 8


class Group(NamedTuple):
    """Variants that go on from one state.

    Attributes:
        start: residues of the wild type that are read before.
        members: indices of the variants.
    """

    start: int
    members: list[int]


def group_by_prefix(firsts: Sequence[int], length: int, budget: int) -> list[Group]:
    """Variants by where they leave the wild type, earliest first.

    Args:
        firsts: the first mutated residue of each variant, from 0; L or more for none, which is left
            out.
        length: L.
        budget: tokens of a batch, the wild type's row included.
    """
    groups: list[Group] = []
    for index in sorted(range(len(firsts)), key=lambda i: firsts[i]):
        if firsts[index] >= length:
            continue
        if groups:
            start, members = groups[-1]
            rest = length - start
            near = firsts[index] - start <= rest * _EARLIER
            if near and (len(members) + 2) * rest <= budget:
                members.append(index)
                continue
        groups.append(Group(firsts[index], [index]))
    return groups


def tokens_of(groups: Sequence[Group], length: int) -> int:
    """Tokens that are read: the wild type once, and what follows of each row of each group."""
    return length + sum((len(group.members) + 1) * (length - group.start) for group in groups)


def prefix_log_ratios(
    model: BatchedModel,
    wild_type: Codes,
    mutants: Sequence[Codes],
    firsts: Sequence[int],
    on_passes: Callable[[int], None] = lambda passes: None,
) -> NDArray[np.float64]:
    """Log p(mutant) - log p(wild type), over residues.

    Args:
        wild_type: (L,) codes.
        mutants: (L,) codes of each variant.
        firsts: see `group_by_prefix`.
        on_passes: called with the number of rows that were computed since the last call.

    Returns: (N,) nats.
    """
    length = len(wild_type)
    ratios = np.zeros(len(mutants))
    tokens = torch.tensor([model.alphabet.bos, *wild_type.tolist()], device=model.device)
    state, read = model.network.init_state(1), 0
    for group in group_by_prefix(firsts, length, model.batch_tokens):
        state = _read(model, tokens[read : group.start], state)
        read = group.start
        rows = [mutants[i] for i in group.members]
        ratios[group.members] = _ratios(model, wild_type, rows, group.start, state)
        on_passes(len(rows))
    return ratios


def _read(model: BatchedModel, tokens: Tensor, state: Any) -> Any:
    """The state after some tokens of the wild type."""
    if not len(tokens):
        return state
    (after,) = model.map_batches(
        [len(tokens)], lambda batch: [model.network.step(tokens[None], state)[1]]
    )
    return after


def _ratios(
    model: BatchedModel, wild_type: Codes, mutants: Sequence[Codes], start: int, state: Any
) -> list[float]:
    """The log-ratios of mutants that go on from the state before token `start`.

    The wild type is the first row of each batch: what rounds, rounds alike.
    """

    def compute(batch: list[int]) -> list[float]:
        codes = np.stack([wild_type, *(mutants[i] for i in batch)])
        rows = torch.from_numpy(np.insert(codes, 0, model.alphabet.bos, axis=1).astype(np.int64))
        rows = rows[:, start:].to(model.device)
        same = torch.zeros(len(rows), dtype=torch.int64, device=model.device)
        logits, _ = model.network.step(rows[:, :-1], selected(state, same))
        log_p = torch.log_softmax(logits.float(), -1).gather(2, rows[:, 1:, None])
        totals = log_p[..., 0].double().sum(1)
        return [float(each) for each in totals[1:] - totals[0]]

    return model.map_batches([len(wild_type) - start] * len(mutants), compute)
