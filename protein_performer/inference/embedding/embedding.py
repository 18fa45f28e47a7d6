"""Embeddings of encoded proteins: hidden states of any layers, pooled, whole or by windows.

Shapes: L_i residues of sequence i, E model width.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from protein_performer.inference.batched_model import BatchedModel
from protein_performer.inference.batcher import Codes, PaddedRows
from protein_performer.inference.embedding.pooling import (
    Pooling,
    check_pooling,
    join_windows,
    pool,
    window_begins,
)

LAST = (-1,)


def embed_codes(
    model: BatchedModel,
    codes: Sequence[Codes],
    pooling: Pooling = "mean",
    layers: Sequence[int] = LAST,
    *,
    window: int | None = None,
    on_failure: Callable[[int], None] | None = None,
) -> list[list[Tensor] | None]:
    """Embed sequences.

    Args:
        model: a loaded checkpoint.
        codes: (L_i,) each, without special tokens.
        pooling: see `pooling.pool`.
        layers: see `ProteinTransformer.hidden_layers`.
        window: residues that the model reads at once; longer sequences are read in windows that
            overlap by half (`pooling.join_windows`). None reads all whole.
        on_failure: called with the index of a sequence that does not fit into memory alone;
            without it that is a UserError.

    Returns: for each sequence a float32 tensor on the CPU of each layer, (E,) or, for `residue`,
        (L_i, E); None for one that failed.
    """
    check_pooling(pooling, model.network.causal)
    if window is None:
        return _embed(model, codes, pooling, layers, on_failure)
    long = [i for i, each in enumerate(codes) if len(each) > window]
    short = [i for i, each in enumerate(codes) if len(each) <= window]
    results: list[list[Tensor] | None] = [None] * len(codes)

    def failing(indices: list[int]) -> Callable[[int], None] | None:
        return None if on_failure is None else lambda i: on_failure(indices[i])

    whole = _embed(model, [codes[i] for i in short], pooling, layers, failing(short))
    for i, result in zip(short, whole, strict=True):
        results[i] = result
    inner: Pooling = pooling if pooling in ("bos", "eos") else "residue"
    for i in long:  # one at a time: the states of all its residues are in memory
        begins = window_begins(len(codes[i]), window)
        pieces = [codes[i][begin : begin + window] for begin in begins]
        parts = _embed(model, pieces, inner, layers, failing([i] * len(pieces)))
        found = [part for part in parts if part is not None]
        if len(found) == len(parts):
            results[i] = [
                join_windows([part[layer] for part in found], begins, len(codes[i]), pooling)
                for layer in range(len(layers))
            ]
    return results


def _embed(
    model: BatchedModel,
    codes: Sequence[Codes],
    pooling: Pooling,
    layers: Sequence[int],
    on_failure: Callable[[int], None] | None,
) -> list[list[Tensor] | None]:
    def compute(rows: PaddedRows) -> list[list[Tensor] | None]:
        if tuple(layers) == LAST:
            states = [model.network.hidden(rows.tokens, rows.mask)]
        else:
            states = model.network.hidden_layers(rows.tokens, rows.mask, layers)
        pooled = [_on_cpu(pool(each.float(), rows, pooling), pooling) for each in states]
        return [list(of_layers) for of_layers in zip(*pooled, strict=True)]

    return model.map_rows(codes, compute, on_failure=on_failure)


def _on_cpu(results: list[Tensor], pooling: Pooling) -> list[Tensor]:
    """Copies that do not hold the batch; vectors go in one transfer."""
    if pooling == "residue":
        return [each.to("cpu", copy=True) for each in results]
    return list(torch.stack(results).cpu().unbind())
