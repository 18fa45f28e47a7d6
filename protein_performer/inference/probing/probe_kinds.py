"""Which kinds of features a probe compares: a model's states, and what needs no model."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from protein_performer.errors import UserError
from protein_performer.inference.batched_model import BatchedModel
from protein_performer.inference.embedding.embedding_plan import longest
from protein_performer.inference.embedding.pooling import check_pooling
from protein_performer.inference.probing.labelled_proteins import LabelledProteins
from protein_performer.inference.probing.probe_features import (
    Features,
    composition,
    one_hot_sites,
    one_hot_window,
    states,
    states_at_sites,
    untrained,
)

ProbePooling = Literal["mean", "max", "bos", "eos", "sites"]
MODEL, UNTRAINED = "model", "untrained model"


@dataclass(frozen=True)
class ProbeOptions:
    """What the probe sees of a model, and how much it is fitted to.

    Attributes:
        pooling: of proteins; see `pooling.pool`. `sites` for the states at the positions where the
            sequences, all of one length, differ. None for `mean`; residues are not pooled.
        layers: see `ProteinTransformer.hidden_layers`; the states of several stand side by side.
        window: read longer proteins in windows of so many residues.
        residues: labelled ones of training, and of validation, that the probe sees: whole
            proteins are drawn until there are so many. None for all.
        seed: of the draw, and of the untrained model's weights.
        trusted_packages: see `load_checkpoint`.
    """

    pooling: ProbePooling | None = None
    layers: tuple[int, ...] = (-1,)
    window: int | None = None
    residues: int | None = None
    seed: int = 0
    trusted_packages: tuple[str, ...] = ()


def kinds_of(
    model: BatchedModel,
    labelled: LabelledProteins,
    options: ProbeOptions,
    sites: NDArray[np.intp] | None,
) -> Iterator[tuple[str, Features]]:
    """What the probe sees, one after another: the model last.

    Args:
        model: a loaded checkpoint.
        labelled: proteins with their labels.
        options: see there.
        sites: see `differing_sites`.

    Raises: UserError for options that cannot be with this model and these labels.
    """
    per_residue = labelled.task == "residues"
    _check(options, model, per_residue=per_residue, sites=sites)
    yield "composition", composition(model.alphabet, per_residue=per_residue)
    if per_residue:
        yield "one-hot window", one_hot_window(model.alphabet)
    if sites is not None and len(sites):
        yield "one-hot sites", one_hot_sites(model.alphabet, sites)
    fresh = untrained(model, options.seed, options.trusted_packages)
    for name, network in ((UNTRAINED, fresh), (MODEL, model)):
        if options.pooling == "sites" and sites is not None:
            yield name, states_at_sites(network, sites, options.layers, options.window)
        elif per_residue:
            yield name, states(network, "residue", options.layers, options.window)
        elif options.pooling != "sites":
            yield name, states(network, options.pooling or "mean", options.layers, options.window)


def _check(
    options: ProbeOptions,
    model: BatchedModel,
    *,
    per_residue: bool,
    sites: NDArray[np.intp] | None,
) -> None:
    """Raise UserError for options that cannot be with this model and these labels."""
    model.network.check_layers(options.layers)
    limit = longest(model)
    if options.window is not None and limit is not None and options.window > limit:
        raise UserError(f"window: the model reads at most {limit:,} residues")
    if per_residue and options.pooling is not None:
        raise UserError(f"pooling={options.pooling}: here each residue has a label: none is pooled")
    if options.pooling == "sites" and (sites is None or not len(sites)):
        raise UserError(
            "pooling=sites: expected sequences of one length that differ, as of variants of one"
            " protein. Take mean, max, bos or eos."
        )
    if options.pooling not in (None, *get_args(ProbePooling)):
        raise UserError(
            f"pooling: expected {', '.join(get_args(ProbePooling))}, got {options.pooling!r}"
        )
    if options.pooling not in (None, "sites"):
        check_pooling(options.pooling, model.network.causal)
