"""Fitting a model's attention layers to a teacher's, all at once, before training goes on.

Source: Zhang et al. 2024, arXiv:2410.10254 (LoLCATs), section 3.1, "attention transfer": each layer
is given what enters the teacher's layer, and is fitted to what leaves it by the squared error, so
that errors of earlier layers do not reach later ones. They learn feature maps; FAVOR+ has random
ones, so here the projections to queries, keys, values and output are fitted too, beside whatever a
mechanism has of its own. Errors are relative to the size of the teacher's outputs, so that layers
weigh alike.

Shapes: B batch, L positions, E model width.
"""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from itertools import chain, islice, repeat
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from protein_performer.batch import Batch
from protein_performer.model.layers import Block
from protein_performer.model.transformer import ProteinTransformer

RATE = 1e-3  # of Adam, falling to zero in a line


class _Seen(NamedTuple):
    """What a layer of the teacher did with a batch."""

    arguments: tuple[Any, ...]  # (B, L, E) inputs, (B, L) mask or None, rotation or None
    output: Tensor  # (B, L, E)


def distil(
    student: ProteinTransformer,
    teacher: ProteinTransformer,
    batches: Iterable[Batch],
    steps: int,
    report: Callable[[int, list[float]], None],
) -> None:
    """Fit the student's attention layers; nothing else of it changes.

    Args:
        student: of the teacher's trunk; both on the device where it is computed.
        batches: of the teacher's direction; begun again where they end. Targets are not used.
        steps: of the optimizer, one batch each.
        report: called with the number of steps taken and the relative errors of the layers,
            |student - teacher| / |teacher| over a batch: before the first step and every tenth of
            them. No random numbers are drawn, so that training behind it is what it would be.
    """
    layers = [block.attention for block in cast(list[Block], list(student.blocks))]
    parameters = list(dict.fromkeys(p for layer in layers for p in layer.parameters()))
    optimizer = torch.optim.Adam(parameters, lr=RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    was_training = student.training
    student.eval()
    for step, batch in enumerate(islice(chain.from_iterable(repeat(batches)), steps)):
        seen = _attention_of(teacher, batch)
        errors = torch.stack([_error(*each) for each in zip(layers, seen, strict=True)])
        if step % max(1, steps // 10) == 0:
            report(step, errors.detach().sqrt().tolist())
        optimizer.zero_grad()
        errors.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    optimizer.zero_grad()
    student.train(was_training)


@torch.no_grad()
def _attention_of(teacher: ProteinTransformer, batch: Batch) -> list[_Seen]:
    seen: list[_Seen] = []

    def keep(layer: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
        seen.append(_Seen(arguments, output))

    with ExitStack() as hooks:
        for block in cast(list[Block], list(teacher.blocks)):
            hooks.callback(block.attention.register_forward_hook(keep).remove)
        device = teacher.embedding.weight.device
        teacher.eval().hidden(batch.inputs.to(device), batch.mask.to(device))
    return seen


def _error(layer: nn.Module, seen: _Seen) -> Tensor:
    """Squares of the layer's deviation over those of the teacher's output, tokens only."""
    mask = seen.arguments[1]
    deviation = layer(*seen.arguments) - seen.output
    squares, size = deviation.square(), seen.output.square()
    if mask is not None:
        squares, size = squares[mask], size[mask]
    error: Tensor = squares.sum() / size.sum()
    return error
