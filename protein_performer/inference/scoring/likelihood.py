"""How likely a model finds proteins: one figure for each.

Shapes: B rows, L columns, L_i residues of protein i, N scored residues, V vocabulary.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeVar, get_args

import torch
from torch import Tensor

from protein_performer.batch import IGNORE, Batch
from protein_performer.data.objectives import MaskedResidues
from protein_performer.errors import UserError
from protein_performer.inference.batched_model import BatchedModel
from protein_performer.inference.batcher import Codes, PaddedRows, pad

Method = Literal["exact", "pseudo", "one-pass"]
Result = TypeVar("Result")


class SequenceScore(NamedTuple):
    """What a model says of one protein.

    Attributes:
        residues: L_i. The end is not scored, as nowhere in this package.
        log_likelihood: summed over residues, nats; a pseudo-log-likelihood of a masked model. NaN
            if the protein did not fit into memory.
        correct: residues that the model found the most likely at their place.
    """

    residues: int
    log_likelihood: float
    correct: int

    @property
    def perplexity(self) -> float:
        """exp(-log_likelihood / residues)."""
        return math.exp(-self.log_likelihood / self.residues)

    @property
    def accuracy(self) -> float:
        """Share of `correct`."""
        return self.correct / self.residues


class Cost(NamedTuple):
    """What scoring takes.

    Attributes:
        passes: rows that the model reads.
        tokens: of these rows.
    """

    passes: int
    tokens: int


def choose_method(model: BatchedModel, method: Method | None = None) -> Method:
    """The method asked for, or the one that is exact for the model's objective.

    Raises: UserError for one that the model does not have.
    """
    causal = model.checkpoint.task.needs_causal
    if method is None:
        return "exact" if causal else "pseudo"
    if method not in get_args(Method):
        raise UserError(f"method: expected one of {', '.join(get_args(Method))}, got {method!r}")
    if (method == "exact") != causal:
        raise UserError(
            f"method {method!r}: a model of the next residue has `exact`, one of masked residues"
            f" `pseudo` and `one-pass`; this one was trained on {model.checkpoint.objective}"
        )
    if method == "one-pass":
        shown_log_odds(model)
    return method


def cost(lengths: Sequence[int], method: Method) -> Cost:
    """What scoring proteins of these lengths takes."""
    if method != "pseudo":
        return Cost(len(lengths), sum(lengths) + 2 * len(lengths))
    return Cost(sum(lengths), sum(length * (length + 2) for length in lengths))


def score_codes(
    model: BatchedModel,
    codes: Sequence[Codes],
    method: Method | None = None,
    *,
    keep_going: bool = False,
    on_passes: Callable[[int], None] = lambda passes: None,
) -> list[SequenceScore]:
    """Score encoded proteins, each as a whole.

    - `exact`, of a model of the next residue: sum over i of log p(x_i | x_1 .. x_(i-1)).
    - `pseudo`, of a masked one: sum over i of log p(x_i | all residues but i), one masked row for
      each residue (Salazar et al. 2020, arXiv:1910.14659, section 2). L_i passes over L_i residues.
    - `one-pass` approximates `pseudo` by one pass over the residues as they are. Training shows a
      selected residue as it is with probability s, and as a random one of the 20 standard residues
      with probability r: of a model that is ideal in this game, Bayes' rule takes back what is
      learnt from seeing x_i, if log((s + r/20) / (r/20)) is subtracted from the logit of x_i. Rare
      residues, which are never shown at random, are masked, all at once. (Gordon et al. 2024,
      doi:10.1101/2024.10.03.616542, use the shares to the same end, with another formula.)

    Probabilities are over all V tokens, as in training.

    Args:
        codes: (L_i,) each.
        method: None for `exact` or `pseudo`.
        keep_going: score NaN where a protein does not fit into memory, which is an error otherwise.
        on_passes: called with the number of rows that were computed since the last call.
    """
    method = choose_method(model, method)
    if method == "pseudo":
        return _pseudo(model, codes, keep_going, on_passes)
    shown = shown_log_odds(model) if method == "one-pass" else 0.0

    def compute(rows: PaddedRows) -> list[SequenceScore]:
        inputs, targets = _questions(model, rows.tokens)
        log_p, answers = log_probabilities(model, inputs, targets, rows.mask, shown)
        on_passes(len(rows.lengths))
        return _by_protein(rows.lengths, *_answered(log_p, answers))

    def fail(index: int) -> SequenceScore:
        return SequenceScore(len(codes[index]), math.nan, 0)

    return model.map_rows(codes, compute, on_failure=fail if keep_going else None)


def map_masked(
    model: BatchedModel,
    codes: Sequence[Codes],
    places: Sequence[tuple[int, int]],
    compute: Callable[[Tensor, Tensor], Sequence[Result]],
    *,
    on_failure: Callable[[int], Result] | None = None,
    on_passes: Callable[[int], None] = lambda passes: None,
) -> list[Result]:
    """Ask a masked model for single residues, each masked in a row of its own.

    Args:
        codes: proteins.
        places: (protein, residue) of each question, from 0.
        compute: from (N, V) log-probabilities and (N,) true residues to a result of each.
        on_failure: from the index of a place to its result, where its protein does not fit into
            memory.
        on_passes: see `score_codes`.

    Returns: the results in the order of the places.
    """
    ends = not model.network.causal

    def run(batch: list[int]) -> Sequence[Result]:
        rows = pad([codes[places[i][0]] for i in batch], ends=ends, device=model.device)
        row = torch.arange(len(batch), device=model.device)
        column = torch.tensor([places[i][1] + 1 for i in batch], device=model.device)  # after <bos>
        targets = torch.full_like(rows.tokens, IGNORE)
        targets[row, column] = rows.tokens[row, column]
        inputs = rows.tokens.clone()
        inputs[row, column] = model.alphabet.mask
        results = compute(*log_probabilities(model, inputs, targets, rows.mask))
        on_passes(len(batch))
        return results

    lengths = [len(codes[protein]) for protein, _ in places]
    return model.map_batches(lengths, run, on_failure=on_failure)


def log_probabilities(
    model: BatchedModel, inputs: Tensor, targets: Tensor, mask: Tensor | None, shown: float = 0.0
) -> tuple[Tensor, Tensor]:
    """(N, V) float32 log-probabilities where there is a target, and the (N,) targets.

    Args:
        inputs, targets: (B, L) int64, as of a `Batch`.
        mask: (B, L) bool, or None without padding.
        shown: subtracted from the logit of a target that the model reads; see `shown_log_odds`.
    """
    mask = torch.ones_like(inputs, dtype=torch.bool) if mask is None else mask
    records = torch.arange(len(inputs), device=inputs.device)
    logits, answers = model.network.scored_logits(Batch(inputs, targets, mask, records))
    logits = logits.float()
    if shown:
        is_shown = inputs[targets != IGNORE] == answers
        logits[is_shown, answers[is_shown]] -= shown
    return torch.log_softmax(logits, -1), answers


def shown_log_odds(model: BatchedModel) -> float:
    """By how much seeing a residue raises its logit in a masked model that is ideal.

    Raises: UserError if training did not show selected residues, neither as they are nor at random:
        then what the model says of a residue that it sees means nothing.
    """
    task = model.checkpoint.task
    if not isinstance(task, MaskedResidues) or task.random == 0:
        raise UserError(
            "method 'one-pass': expected a model that was trained on BERT's three kinds of selected"
            " residues (objective.task.random more than 0). Score with the method 'pseudo'."
        )
    kept = max(0.0, 1 - task.mask - task.random)
    at_random = task.random / len(model.alphabet.standard)
    return math.log((kept + at_random) / at_random)


def _questions(model: BatchedModel, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs and targets of rows that are read as they are, at every residue.

    Of a masked model rare residues are masked; see `score_codes`.
    """
    residues = torch.where(tokens >= model.alphabet.first_letter, tokens, IGNORE)
    if model.checkpoint.task.needs_causal:
        return tokens, torch.nn.functional.pad(residues[:, 1:], (0, 1), value=IGNORE)
    rare = residues >= model.alphabet.standard_codes.stop
    return tokens.masked_fill(rare, model.alphabet.mask), residues


def _pseudo(
    model: BatchedModel,
    codes: Sequence[Codes],
    keep_going: bool,
    on_passes: Callable[[int], None],
) -> list[SequenceScore]:
    def compute(log_p: Tensor, answers: Tensor) -> list[tuple[float, bool]]:
        likelihood, correct = _answered(log_p, answers)
        return list(zip(likelihood.tolist(), correct.tolist(), strict=True))

    def fail(place: int) -> tuple[float, bool]:
        return math.nan, False

    lengths = [len(each) for each in codes]
    places = [(i, position) for i, length in enumerate(lengths) for position in range(length)]
    results = map_masked(
        model, codes, places, compute, on_failure=fail if keep_going else None, on_passes=on_passes
    )
    likelihood = torch.tensor([each[0] for each in results], dtype=torch.float64)
    return _by_protein(lengths, likelihood, torch.tensor([each[1] for each in results]))


def _answered(log_p: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) float64 log-probabilities of the answers, and (N,) bool where they are the likeliest."""
    likelihood = log_p.gather(1, answers[:, None])[:, 0].double()
    return likelihood.cpu(), (log_p.argmax(-1) == answers).cpu()


def _by_protein(lengths: list[int], likelihood: Tensor, correct: Tensor) -> list[SequenceScore]:
    """Sums over (N,) residues of one protein after another."""
    return [
        SequenceScore(length, float(each.sum()), int(right.sum()))
        for length, each, right in zip(
            lengths, torch.split(likelihood, lengths), torch.split(correct, lengths), strict=True
        )
    ]
