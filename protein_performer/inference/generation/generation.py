"""New proteins: from a causal model residue by residue, from a masked one at masked places.

A causal model goes on from its state, so with FAVOR+ the next residue costs the same time and
memory at any length; exact attention keeps all keys and values.

Shapes: B proteins of a batch, T tokens of the prompt, L_i residues of protein i, V vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from protein_performer.alphabet import ResidueCounts
from protein_performer.attention.protocol import selected
from protein_performer.errors import UserError
from protein_performer.inference.batched_model import BatchedModel
from protein_performer.inference.batcher import Codes, pad
from protein_performer.inference.generation.sampling import Sampling

_NOMINAL = 126  # residues that a protein counts for when batches are formed: 64 at 8,192 tokens


class GeneratedProtein(NamedTuple):
    """One protein that a model made.

    Attributes:
        sequence: residues, the prompt included.
        log_likelihood: nats, by the model's own distribution over all V tokens, whatever the
            temperature. From a causal model of all residues: what scoring the sequence gives. From
            a masked one of the residues that were filled in, each given those filled in before.
        ended: the model itself ended the protein, before the longest length.
    """

    sequence: str
    log_likelihood: float
    ended: bool


def generate(
    model: BatchedModel,
    number: int,
    *,
    max_length: int,
    prompt: str = "",
    sampling: Sampling | None = None,
    rare: bool = False,
    on_done: Callable[[int], None] = lambda proteins: None,
) -> list[GeneratedProtein]:
    """Draw proteins from a causal model, residue by residue, until `<eos>` or the longest length.

    A protein is a function of (seed, its number, prompt, options), whatever the batch, but for
    rounding: two batch sizes may part at a draw that falls between two nearly equal sums.

    Args:
        model: of the next residue, with mechanisms that keep a state.
        number: proteins.
        max_length: residues of each, the prompt included.
        prompt: residues that each begins with.
        sampling: None for the model's own distribution.
        rare: let the letters of `Alphabet.rare` occur, as B and X do in databases.
        on_done: called with the number of proteins that are done since the last call.

    Raises: UserError for a model that cannot step, for lengths that cannot be, and for characters
        of the prompt that are no residues.
    """
    _check_given(model, "prompt", prompt)
    first = model.encode(prompt)[0] if prompt else np.zeros(0, np.uint8)
    _check_causal(model, number, max_length, len(first))
    sampling = sampling or Sampling()
    allowed = _allowed(model, rare, end=True)

    def compute(batch: list[int]) -> list[GeneratedProtein]:
        proteins = _generate(model, batch, first, max_length, sampling, allowed)
        on_done(len(batch))
        return proteins

    return model.map_batches([_NOMINAL] * number, compute)


def _generate(
    model: BatchedModel,
    batch: list[int],
    prompt: Codes,
    max_length: int,
    sampling: Sampling,
    allowed: Tensor,
) -> list[GeneratedProtein]:
    """The proteins with these numbers. Rows that have ended leave the batch when half of it has."""
    network = model.network
    begin = torch.tensor([model.alphabet.bos, *prompt.tolist()], device=model.device)
    logits, state = network.step(begin.expand(len(batch), -1), network.init_state(len(batch)))
    log_p = torch.log_softmax(logits.float(), -1)
    uniform = np.stack([sampling.draws(i, max_length) for i in batch])
    growing = _Growing(prompt, _of_tokens(log_p[:, :-1], begin[1:]), max_length)
    rows, log_p = np.arange(len(batch)), log_p[:, -1]  # the protein of each row
    for position in range(len(prompt), max_length):
        scores = log_p.masked_fill(~allowed, -torch.inf)
        if position == 0:  # a protein has a residue
            scores[:, model.alphabet.eos] = -torch.inf
        draws = torch.from_numpy(uniform[rows, position]).to(model.device)
        drawn = sampling.choose(scores, draws)
        growing.add(rows, position, drawn, log_p, model.alphabet.eos)
        going = np.flatnonzero(~growing.ended[rows])
        if not len(going) or position + 1 == max_length:
            break
        if 2 * len(going) <= len(rows):
            index = torch.from_numpy(going).to(model.device)
            state, drawn, rows = selected(state, index), drawn[index], rows[going]
        logits, state = network.step(drawn[:, None], state)
        log_p = torch.log_softmax(logits[:, 0].float(), -1)
    return growing.proteins(model)


class _Growing:
    """Proteins of a batch: their codes, and what the model says of them."""

    def __init__(self, prompt: Codes, log_likelihood: Tensor, max_length: int) -> None:
        number = len(log_likelihood)
        self.codes = np.zeros((number, max_length), np.uint8)
        self.codes[:, : len(prompt)] = prompt
        self.log_likelihood = log_likelihood.cpu().numpy()
        self.lengths = np.full(number, max_length)
        self.ended = np.zeros(number, bool)

    def add(self, rows: Any, position: int, drawn: Tensor, log_p: Tensor, eos: int) -> None:
        """Note the token that each protein's row drew; rows of ended proteins are passed over."""
        tokens = drawn.cpu().numpy()
        gained = log_p.gather(1, drawn[:, None])[:, 0].double().cpu().numpy()
        growing = ~self.ended[rows]
        ending, going = growing & (tokens == eos), growing & (tokens != eos)
        self.ended[rows[ending]] = True
        self.lengths[rows[ending]] = position
        self.codes[rows[going], position] = tokens[going]
        self.log_likelihood[rows[going]] += gained[going]

    def proteins(self, model: BatchedModel) -> list[GeneratedProtein]:
        decode = model.alphabet.decode
        columns = zip(self.codes, self.lengths, self.log_likelihood, self.ended, strict=True)
        return [
            GeneratedProtein(decode(codes[:length]), float(likelihood), bool(ended))
            for codes, length, likelihood, ended in columns
        ]


def in_paint(
    model: BatchedModel,
    sequence: str,
    positions: Sequence[int],
    number: int,
    *,
    sampling: Sampling | None = None,
    rare: bool = False,
    on_done: Callable[[int], None] = lambda proteins: None,
) -> list[GeneratedProtein]:
    """Fill in residues of a protein with a masked model, one after another in random order.

    Each is drawn given the whole protein with those that are not filled in yet masked: as many
    passes as there are places. Places are independent of each other in one pass, so filling all at
    once would join residues that do not go together.

    Args:
        model: of masked residues.
        sequence: residues; what stands at the places does not matter.
        positions: places to fill in, from 0.
        number: proteins, each with an order of its own.
        sampling: None for the model's own distribution.
        rare: as of `generate`.
        on_done: as of `generate`.

    Raises: UserError for a causal model, for a place that the sequence does not have, and for
        characters at other places that are no residues.
    """
    (codes,) = model.encode(sequence)
    _check_masked(model, len(codes), positions, number)
    kept = "".join(each for i, each in enumerate(sequence) if i not in set(positions))
    _check_given(model, "sequence", kept)
    places = np.unique(np.asarray(positions))
    sampling = sampling or Sampling()
    allowed = _allowed(model, rare, end=False)

    def compute(batch: list[int]) -> list[GeneratedProtein]:
        rows = pad([codes] * len(batch), ends=True, device=model.device)
        tokens, row = rows.tokens.clone(), torch.arange(len(batch), device=model.device)
        tokens[:, torch.from_numpy(places + 1)] = model.alphabet.mask  # behind <bos>
        draws = np.stack([sampling.draws(i, 2 * len(places)) for i in batch])
        order = places[np.argsort(draws[:, : len(places)])] + 1
        total = torch.zeros(len(batch), dtype=torch.float64, device=model.device)
        for turn in range(len(places)):
            column = torch.from_numpy(order[:, turn]).to(model.device)
            hidden = model.network.hidden(tokens, rows.mask)[row, column]
            log_p = torch.log_softmax(model.network.head(hidden).float(), -1)
            uniform = torch.from_numpy(draws[:, len(places) + turn]).to(model.device)
            drawn = sampling.choose(log_p.masked_fill(~allowed, -torch.inf), uniform)
            tokens[row, column] = drawn
            total += log_p[row, drawn].double()
        on_done(len(batch))
        filled = tokens[:, 1:-1].cpu().numpy()
        return [
            GeneratedProtein(model.alphabet.decode(codes), float(likelihood), ended=True)
            for codes, likelihood in zip(filled, total, strict=True)
        ]

    return model.map_batches([len(codes)] * number, compute)


def _of_tokens(log_p: Tensor, tokens: Tensor) -> Tensor:
    """(B,) float64: log-probability of the (T,) tokens, summed over (B, T, V)."""
    index = tokens.expand(len(log_p), -1)[..., None]
    return log_p.gather(2, index)[..., 0].double().sum(1)


def _allowed(model: BatchedModel, rare: bool, *, end: bool) -> Tensor:
    """(V,) bool: the tokens that may be drawn."""
    allowed = torch.zeros(len(model.alphabet), dtype=torch.bool, device=model.device)
    codes = model.alphabet.standard_codes
    allowed[codes.start : len(allowed) if rare else codes.stop] = True
    allowed[model.alphabet.eos] = end
    return allowed


def _check_given(model: BatchedModel, what: str, residues: str) -> None:
    """Raise UserError for what would come out as something else than it went in as."""
    counts = ResidueCounts()
    model.alphabet.encode(residues, "unknown", counts=counts)
    if counts.unknown:
        raise UserError(
            f"{what}: expected residues {model.alphabet.letters}, got {residues!r}:"
            f" {counts.unknown} characters are none of them"
        )


def _check_causal(model: BatchedModel, number: int, max_length: int, prompt: int) -> None:
    if not model.network.causal:
        raise UserError(
            f"generate: expected a model of the next residue (objective=causal), this one was"
            f" trained on {model.checkpoint.objective}. Give it a sequence and the positions to"
            " fill in."
        )
    if number < 1:
        raise UserError(f"number: expected at least 1 protein, got {number}")
    if max_length <= prompt:
        raise UserError(
            f"max_length: expected more than the {prompt} residues of the prompt, got {max_length}"
        )
    table = model.network.trunk.max_length
    if table is not None and max_length > table:
        raise UserError(
            f"max_length: this model has positions=learned and knows {table} tokens, which is"
            f" {table} residues with <bos>; got {max_length}"
        )


def _check_masked(model: BatchedModel, length: int, positions: Sequence[int], number: int) -> None:
    if model.network.causal:
        raise UserError(
            "in-painting: expected a model of masked residues (objective=mlm), this one was trained"
            f" on {model.checkpoint.objective}, and sees only what stands before a residue"
        )
    if number < 1:
        raise UserError(f"number: expected at least 1 protein, got {number}")
    outside = [place + 1 for place in positions if not 0 <= place < length]
    if outside or not positions:
        got = f"place {outside[0]}" if outside else "none"
        raise UserError(f"positions: expected places from 1 to {length}, got {got}")
