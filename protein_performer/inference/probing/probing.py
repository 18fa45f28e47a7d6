"""What a linear probe reads off a model's states, beside what it reads off much less.

The same probe, chosen by the same validation proteins, sees each of: the letters' shares, the
letters themselves (of a window, or at the positions where sequences of one length differ), an
untrained model of the same config, and the model. It is not fitted again with validation.

Shapes: N proteins of a part, n rows of them (N, or their residues), F features.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protein_performer.alphabet import ResidueCounts
from protein_performer.errors import UserError
from protein_performer.inference.batched_model import BatchedModel, aligned
from protein_performer.inference.batcher import Codes
from protein_performer.inference.bootstrap import bootstrap_interval
from protein_performer.inference.embedding.embedding_plan import longest
from protein_performer.inference.probing.agreement import Agreement, Statistic
from protein_performer.inference.probing.labelled_proteins import (
    NOT_ASKED,
    LabelledProteins,
    Part,
)
from protein_performer.inference.probing.linear_probe import LinearProbe, fit_probe
from protein_performer.inference.probing.probe_features import (
    Features,
    differing_sites,
)
from protein_performer.inference.probing.probe_kinds import ProbeOptions, kinds_of


class Probed(NamedTuple):
    """What the probe made of one kind of features.

    Attributes:
        name: of the features.
        features: F.
        penalty, validation, converged: see `LinearProbe`.
        test: the figure on the test proteins, Spearman's correlation or accuracy.
        interval: of it, 95 %, over resampled proteins.
        gain: the model's figure less this one.
        gain_interval: of it, on the same resamples.
        predictions: (n,) for the test rows: numbers, or classes.
    """

    name: str
    features: int
    penalty: float
    validation: float
    converged: bool
    test: float
    interval: tuple[float, float]
    gain: float
    gain_interval: tuple[float, float]
    predictions: NDArray[Any]


class ProbeReport(NamedTuple):
    """Everything that came out.

    Attributes:
        rows: the model last.
        proteins, labels: of each part, how many were used.
        constant: the accuracy of the class that is most frequent in training; None for numbers.
        sites: at how many positions the sequences differ; None unless all have one length.
        letters: what the alphabet met.
    """

    rows: list[Probed]
    proteins: dict[Part, int]
    labels: dict[Part, int]
    constant: float | None
    sites: int | None
    letters: ResidueCounts


class _Rows:
    """The proteins of a part that are used, and their labels without what is not asked."""

    def __init__(
        self, labelled: LabelledProteins, codes: Sequence[Codes], members: Sequence[int]
    ) -> None:
        self.codes = [codes[i] for i in members]
        residues = labelled.task == "residues"  # of which some are not asked
        self._asked = [
            labelled.labels[i] != NOT_ASKED if residues else np.ones(1, bool) for i in members
        ]
        self.labels = [labelled.labels[i][a] for i, a in zip(members, self._asked, strict=True)]

    def matrix(self, features: Features) -> NDArray[np.float32]:
        """(n, F)."""
        found = features(self.codes)
        return np.concatenate([each[a] for each, a in zip(found, self._asked, strict=True)])

    @property
    def targets(self) -> NDArray[Any]:
        """(n,)."""
        return np.concatenate(self.labels)


def probe(
    model: BatchedModel,
    labelled: LabelledProteins,
    options: ProbeOptions | None = None,
    *,
    on_features: Callable[[str], None] = lambda name: None,
) -> ProbeReport:
    """Fit and test a linear probe on each kind of features.

    Args:
        model: a loaded checkpoint.
        labelled: proteins with their labels.
        options: see there.
        on_features: called with the name of each kind before its work.

    Raises: UserError for a model of text, options that cannot be, a protein that is longer than
        the model can read or that the residue policy refuses.
    """
    options = options or ProbeOptions()
    model.check_reads_proteins()
    codes, letters = _encode(model, labelled, options)
    sites = None if labelled.task == "residues" else differing_sites(codes)
    kinds = list(kinds_of(model, labelled, options, sites))
    members: dict[Part, list[int]] = {
        "train": _drawn(labelled, "train", options),
        "validation": _drawn(labelled, "validation", options),
        "test": labelled.members("test"),
    }
    parts = {part: _Rows(labelled, codes, each) for part, each in members.items()}
    fitted = []
    for name, features in kinds:
        on_features(name)
        fitted.append(_fit(name, labelled, parts, features))
    return ProbeReport(
        rows=_compared(labelled, parts["test"], fitted),
        proteins={part: len(each.labels) for part, each in parts.items()},
        labels={part: len(each.targets) for part, each in parts.items()},
        constant=_constant(labelled, parts),
        sites=None if sites is None else len(sites),
        letters=letters,
    )


def _encode(
    model: BatchedModel, labelled: LabelledProteins, options: ProbeOptions
) -> tuple[list[Codes], ResidueCounts]:
    """Every sequence, so that what cannot be read is told before the work."""
    policy, letters = aligned(model.checkpoint.residue_policy), ResidueCounts()
    limit = None if options.window else longest(model)
    codes = []
    for name, sequence in zip(labelled.names, labelled.sequences, strict=True):
        codes.append(model.alphabet.encode(sequence, policy, counts=letters, where=name))
        if limit is not None and len(codes[-1]) > limit:
            raise UserError(
                f"{name}: {len(codes[-1]):,} residues, the model reads at most {limit:,}. Read"
                " overlapping windows of it (window)."
            )
    return codes, letters


def _drawn(labelled: LabelledProteins, part: Part, options: ProbeOptions) -> list[int]:
    """The proteins of a part that the probe sees, in their order; see `ProbeOptions.residues`."""
    members = labelled.members(part)
    if labelled.task != "residues" or options.residues is None:
        return members
    order = np.random.default_rng(options.seed).permutation(members)
    asked = np.cumsum([np.count_nonzero(labelled.labels[i] != NOT_ASKED) for i in order])
    enough = int(np.searchsorted(asked, options.residues)) + 1
    return sorted(order[:enough].tolist())


class _Fit(NamedTuple):
    name: str
    features: int
    probe: LinearProbe
    predictions: NDArray[Any]  # of the test rows


def _fit(
    name: str, labelled: LabelledProteins, parts: dict[Part, _Rows], features: Features
) -> _Fit:
    train, validation = parts["train"], parts["validation"]
    seen = train.matrix(features)
    judge = Agreement(labelled.task, validation.labels)
    fitted = fit_probe(
        seen,
        train.targets,
        validation.matrix(features),
        lambda predictions: judge.statistic(predictions)(None),
        classify=labelled.task != "regression",
    )
    return _Fit(name, seen.shape[1], fitted, fitted.predict(parts["test"].matrix(features)))


def _compared(labelled: LabelledProteins, test: _Rows, fitted: Sequence[_Fit]) -> list[Probed]:
    """What came out on the test proteins, and by how much the model, the last one, is better."""
    agreement = Agreement(labelled.task, test.labels)
    statistics = [agreement.statistic(each.predictions) for each in fitted]
    of_model = statistics[-1]

    def interval(statistic: Statistic) -> tuple[float, float]:
        return bootstrap_interval(agreement.proteins, statistic)

    def gain(statistic: Statistic) -> Statistic:
        return lambda weights: of_model(weights) - statistic(weights)

    return [
        Probed(
            fit.name,
            fit.features,
            fit.probe.penalty,
            fit.probe.validation,
            fit.probe.converged,
            test=each(None),
            interval=interval(each),
            gain=gain(each)(None),
            gain_interval=interval(gain(each)),
            predictions=fit.predictions,
        )
        for fit, each in zip(fitted, statistics, strict=True)
    ]


def _constant(labelled: LabelledProteins, parts: dict[Part, _Rows]) -> float | None:
    """The accuracy of the class that is most frequent in training."""
    if labelled.task == "regression":
        return None
    most = np.bincount(parts["train"].targets).argmax()
    return float((parts["test"].targets == most).mean())
