"""What is asked of the model: masked residues, or the next token.

Shapes: B proteins, L positions.
"""

from typing import ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from protein_performer.alphabet import Alphabet
from protein_performer.batch import IGNORE
from protein_performer.data.randomness import random_bits, random_bits16, threshold
from protein_performer.errors import UserError

Codes = NDArray[np.uint8]
Targets = NDArray[np.int64]

# Which outputs of a row's generator serve what: the bits that select position p are in output
# p // 4, those of its replacement are output REPLACEMENTS + p.
REPLACEMENTS, WINDOW = 2**32, 2**33
_LOW = np.uint64(2**32 - 1)  # these bits choose a letter; all 64 decide whether it is shown


class Windows(NamedTuple):
    """Rows of tokens, not yet an objective's business.

    Attributes:
        tokens: (B, L) uint8: `<bos>`, residues, `<eos>` where a protein ends (perhaps residues of
            the next one, and so on), then `<pad>`.
        keys: (B,) uint64, what the rows' random numbers follow from.
        evaluating: True where figures are compared, False in training.
    """

    tokens: Codes
    keys: NDArray[np.uint64]
    evaluating: bool


class Objective(Protocol):
    """Turns windows into what the model reads and what it is scored against."""

    needs_causal: ClassVar[bool]  # a position that sees a later one would see its answer

    def __call__(self, windows: Windows, alphabet: Alphabet) -> tuple[Codes, Targets]:
        """Return (B, L) inputs and (B, L) targets; IGNORE where nothing is scored."""
        ...


def check_trunk(objective: Objective, causal: bool) -> None:
    """Raise UserError for an objective whose answers the model would see.

    Args:
        causal: whether the model is: no position sees a later one.
    """
    if objective.needs_causal and not causal:
        raise UserError(
            f"objective.causal: expected true with objective.task={type(objective).__name__}, got"
            " false: the model would see the tokens that it is to predict. Set"
            " objective.causal=true, or objective=mlm for a model that sees both sides."
        )


class MaskedResidues:
    """Predict residues that were hidden (BERT, Devlin et al. 2018, section 3.1).

    Each residue is selected with the same probability, whatever its neighbours and its batch
    mates. A selected residue is a target; the model reads `<mask>`, a random standard residue or
    the residue itself in its place. In evaluation a protein in which none was selected has the
    one with the lowest bits selected, so that every protein counts.

    The Performer authors' code has the reverse of BERT's shares, 10 % mask and 80 % random
    (google-research, protein_lm), and replaces by one of 25 letters; we by one of the 20 standard
    ones.

    Args:
        select: probability that a residue is selected, to the nearest 1/65536.
        mask: share of the selected that is read as `<mask>`.
        random: share of the selected that is read as a random standard residue (it may be the
            same one). The rest is read as it is.
        evaluate_hidden: in evaluation every selected residue is read as `<mask>`, whatever the
            shares. A tenth of the answers shown, as in BERT's shares, flatters every model that
            copies them and says nothing of what it knows: 20 steps of training then seem to beat
            the empirical baseline by 9 %. False evaluates with the shares of training.
    """

    needs_causal: ClassVar[bool] = False

    def __init__(
        self,
        select: float = 0.15,
        mask: float = 0.8,
        random: float = 0.1,
        evaluate_hidden: bool = True,
    ) -> None:
        if not 0 < select <= 1:
            raise UserError(f"objective: expected 0 < select <= 1, got {select}")
        if mask < 0 or random < 0 or mask + random > 1 + 1e-9:
            raise UserError(
                "objective: expected the shares mask and random to be at least 0 and at most 1"
                f" together, got mask={mask}, random={random}"
            )
        self.select, self.mask, self.random = select, mask, random
        self.evaluate_hidden = evaluate_hidden

    def __call__(self, windows: Windows, alphabet: Alphabet) -> tuple[Codes, Targets]:
        """Return inputs with hidden residues, and targets at the selected ones only."""
        tokens = windows.tokens
        residue = tokens >= alphabet.first_letter
        bits = random_bits16(windows.keys, tokens.shape[1])
        selected = bits < round(self.select * 2**16)
        selected &= residue
        if windows.evaluating:
            _select_one_at_least(selected, bits, residue)
        places = np.flatnonzero(selected)
        residues = tokens.ravel()[places]
        targets = np.full(tokens.shape, IGNORE, dtype=np.int64)
        targets.ravel()[places] = residues
        inputs = tokens.copy()
        if windows.evaluating and self.evaluate_hidden:
            inputs.ravel()[places] = alphabet.mask
        else:
            inputs.ravel()[places] = self._replace(residues, places, windows, alphabet)
        return inputs, targets

    def _replace(
        self, residues: Codes, places: NDArray[np.int64], windows: Windows, alphabet: Alphabet
    ) -> Codes:
        """What is read in place of selected residues at (N,) places of the flattened rows."""
        width = windows.tokens.shape[1]
        rows = places // width  # divmod takes five times as long
        bits = random_bits(windows.keys[rows], places - rows * width + REPLACEMENTS)
        letter = ((bits & _LOW) * np.uint64(len(alphabet.standard))) >> np.uint64(32)
        letter += np.uint64(alphabet.first_letter)
        changed = bits < threshold(self.mask + self.random)
        shown = np.where(changed, letter.astype(np.uint8), residues)
        return np.where(bits < threshold(self.mask), np.uint8(alphabet.mask), shown)


def _select_one_at_least(
    selected: NDArray[np.bool_], bits: NDArray[np.uint16], residue: NDArray[np.bool_]
) -> None:
    """In rows without a selected position, select the residue with the lowest bits, in place."""
    rows = np.flatnonzero(~selected.any(axis=1) & residue.any(axis=1))
    ranked = np.where(residue[rows], bits[rows].astype(np.int64), 2**16)
    selected[rows, ranked.argmin(axis=1)] = True


class NextToken:
    """Predict each residue from those before it, and the end from all.

    Column i of the targets is token i + 1: `<bos>` is scored against the first residue, and a
    protein's last residue against `<eos>`. The last token of a row has nothing to predict: if it
    is `<eos>` it is not read, so it is padding among the inputs; a residue, where the row stops
    short of a protein's end, is read and not scored.

    The Performer authors' code never predicts the end of a single protein.
    """

    needs_causal: ClassVar[bool] = True

    def __call__(self, windows: Windows, alphabet: Alphabet) -> tuple[Codes, Targets]:
        """Return the tokens without a last `<eos>`, and the tokens one to the left."""
        tokens = windows.tokens
        targets = np.full(tokens.shape, IGNORE, dtype=np.int64)
        follows = tokens[:, 1:] != alphabet.pad
        targets[:, :-1][follows] = tokens[:, 1:][follows]
        lasts = follows.sum(axis=1)  # each row's last token; padding is on the right alone
        ended = np.flatnonzero(tokens[np.arange(len(tokens)), lasts] == alphabet.eos)
        inputs = tokens.copy()
        inputs[ended, lasts[ended]] = alphabet.pad
        lasts[ended] -= 1
        used = int(lasts.max(initial=0)) + 1
        return inputs[:, :used], targets[:, :used]
