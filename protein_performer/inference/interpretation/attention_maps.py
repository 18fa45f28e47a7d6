"""Who looks at whom: the attention matrices that a model's layers apply, of any mechanism.

A mechanism is linear in its values, so the rows of its matrix are what it returns for one-hot
values (Choromanski et al. 2021, arXiv:2009.14794, appendix C.4). It is never formed in training.

- Exact, sliding-window, FAVOR+ with a normalizer: rows sum to one.
- Reformer: the average over its hash rounds; rows sum to one.
- Linformer: softmax over its virtual keys times F. Learned F may be of either sign, so entries may
  be negative, and rows need not sum to one.

Shapes: B batch, H heads, L tokens, D head width, A kinds of residues.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from protein_performer.inference.batched_model import BatchedModel
from protein_performer.inference.batcher import Codes, PaddedRows


class Projections(NamedTuple):
    """What one layer's mechanism is given: (B, H, L, D) each."""

    q: Tensor
    k: Tensor
    v: Tensor


def attention_maps(model: BatchedModel, codes: Codes) -> Tensor:
    """All matrices of one protein: memory grows with the square of its length.

    Args:
        model: in use.
        codes: (L,) residues.

    Returns: (layers, H, L + 1 or L + 2, as many) float32 on the CPU, special tokens included: row i
        says what token i looks at.
    """

    def compute(rows: PaddedRows) -> list[Tensor]:
        maps = []
        for mechanism, inputs in zip(
            model.network.mechanisms, projections(model, rows), strict=True
        ):
            length = inputs.q.shape[2]
            one_hot = torch.eye(length, device=model.device)[None, None]
            maps.append(_mix(mechanism, inputs, one_hot, rows.mask)[0])
        return [torch.stack(maps).float().cpu()]

    (maps,) = model.map_rows([codes], compute)
    return maps


def attention_to_kinds(model: BatchedModel, rows: PaddedRows) -> Tensor:
    """How much attention residues of each kind get, in time linear in the length.

    The values say what stands at each position, in place of where it stands.

    Returns: (layers, H, A) float64 on the CPU: summed over residues that look and residues of kind
        a, A letters of the alphabet; special tokens on either side are left out.
    """
    first = model.alphabet.first_letter
    residues = rows.tokens >= first
    kinds = torch.arange(first, len(model.alphabet), device=rows.tokens.device)
    values = (rows.tokens[..., None] == kinds)[:, None]  # (B, 1, L, A)
    totals = []
    for mechanism, inputs in zip(model.network.mechanisms, projections(model, rows), strict=True):
        given = _mix(mechanism, inputs, values, rows.mask)
        totals.append(given.mul(residues[:, None, :, None]).double().sum((0, 2)).cpu())
    return torch.stack(totals)


def _mix(
    mechanism: nn.Module, inputs: Projections, values: Tensor, key_mask: Tensor | None
) -> Tensor:
    """What a mechanism makes of values of any width, (B or 1, 1, L, W) -> (B, H, L, W).

    In pieces of width D, the only one that mechanisms promise to take.
    """
    width = values.shape[-1]
    values = values.expand(*inputs.v.shape[:2], -1, -1).to(inputs.v.dtype)
    mixed = []
    for piece in torch.split(values, inputs.v.shape[-1], dim=-1):
        missing = inputs.v.shape[-1] - piece.shape[-1]
        whole = nn.functional.pad(piece, (0, missing))
        mixed.append(mechanism(inputs.q, inputs.k, whole, key_mask=key_mask))
    return torch.cat(mixed, dim=-1)[..., :width]


def projections(model: BatchedModel, rows: PaddedRows) -> list[Projections]:
    """What each layer's mechanism is given when the model reads these rows."""
    caught: list[Projections] = []

    def catch(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        caught.append(Projections(*args[:3]))

    hooks = [
        mechanism.register_forward_pre_hook(catch, with_kwargs=True)
        for mechanism in model.network.mechanisms
    ]
    try:
        model.network.hidden(rows.tokens, rows.mask)
    finally:
        for hook in hooks:
            hook.remove()
    return caught


def map_projections(
    model: BatchedModel, codes: list[Codes], compute: Callable[[PaddedRows], Tensor]
) -> list[Tensor]:
    """Compute one tensor of each batch of proteins; for sums over many of them."""
    results: list[Tensor] = []

    def of_batch(rows: PaddedRows) -> list[None]:
        results.append(compute(rows))
        return [None] * len(rows.lengths)

    model.map_rows(codes, of_batch)
    return results
