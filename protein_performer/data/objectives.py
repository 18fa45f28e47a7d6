"""What is asked of the model: masked residues, or the next token.

Shapes: B proteins, L positions.
"""

from typing import ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from protein_performer.alphabet import Alphabet
from protein_performer.batch import IGNORE
from protein_performer.data.randomness import draws, hash64, threshold
from protein_performer.errors import UserError

Codes = NDArray[np.uint8]
Targets = NDArray[np.int64]

_SELECT, _REPLACE = 1, 2  # what a position's draw decides: keeps the two apart


class Windows(NamedTuple):
    """Parts of proteins, cropped and laid out in rows, not yet an objective's business.

    Attributes:
        tokens: (B, L) uint8: `<bos>`, the residues, `<eos>` where the window holds the protein's
            end, then `<pad>`.
        starts: (B,) int64, residues of the protein before the window.
        keys: (B,) uint64, the proteins' random numbers.
        evaluating: True where figures are compared, False in training.
    """

    tokens: Codes
    starts: NDArray[np.int64]
    keys: NDArray[np.uint64]
    evaluating: bool


class Objective(Protocol):
    """Turns windows into what the model reads and what it is scored against."""

    causal: ClassVar[bool]

    def __call__(self, windows: Windows, alphabet: Alphabet) -> tuple[Codes, Targets]:
        """Return (B, L) inputs and (B, L) targets; IGNORE where nothing is scored."""
        ...


class MaskedResidues:
    """Predict residues that were hidden (BERT, Devlin et al. 2018, section 3.1).

    Each residue is selected with the same probability, whatever its neighbours and its batch
    mates. A selected residue is a target; the model reads `<mask>`, a random standard residue or
    the residue itself in its place. In evaluation a protein in which none was selected has the
    one with the lowest draw selected, so that every protein counts.

    The Performer authors' code has the reverse of BERT's shares, 10 % mask and 80 % random
    (google-research, protein_lm), and draws from 25 letters; we draw from the 20 standard ones.

    Args:
        select: probability that a residue is selected.
        mask: share of the selected that is read as `<mask>`.
        random: share of the selected that is read as a random standard residue (it may be the
            same one). The rest is read as it is.
    """

    causal: ClassVar[bool] = False

    def __init__(self, select: float = 0.15, mask: float = 0.8, random: float = 0.1) -> None:
        if not 0 < select <= 1:
            raise UserError(f"objective: expected 0 < select <= 1, got {select}")
        if mask < 0 or random < 0 or mask + random > 1 + 1e-9:
            raise UserError(
                "objective: expected the shares mask and random to be at least 0 and at most 1"
                f" together, got mask={mask}, random={random}"
            )
        self.select, self.mask, self.random = select, mask, random

    def __call__(self, windows: Windows, alphabet: Alphabet) -> tuple[Codes, Targets]:
        """Return inputs with hidden residues, and targets at the selected ones only."""
        tokens = windows.tokens
        # Column 0 is <bos>: the residue in column c is number starts + c - 1 of its protein.
        number = windows.starts[:, None] + np.arange(-1, tokens.shape[1] - 1)
        residue = tokens >= alphabet.first_letter
        lots = draws(hash64(windows.keys, _SELECT)[:, None], np.maximum(number, 0))
        selected = (lots < threshold(self.select)) & residue
        if windows.evaluating:
            _select_one_at_least(selected, lots, residue)
        rows, columns = np.nonzero(selected)
        targets = np.full(tokens.shape, IGNORE, dtype=np.int64)
        targets[rows, columns] = tokens[rows, columns]
        inputs = tokens.copy()
        lot = draws(hash64(windows.keys, _REPLACE)[rows], number[rows, columns])
        action = (lot >> np.uint64(32)).astype(np.float64) / 2**32
        letter = ((lot & np.uint64(0xFFFFFFFF)) * np.uint64(len(alphabet.standard))) >> np.uint64(
            32
        )
        hidden = action < self.mask
        inputs[rows[hidden], columns[hidden]] = alphabet.mask
        swapped = ~hidden & (action < self.mask + self.random)
        inputs[rows[swapped], columns[swapped]] = letter[swapped] + alphabet.first_letter
        return inputs, targets


def _select_one_at_least(
    selected: NDArray[np.bool_], lots: NDArray[np.uint64], residue: NDArray[np.bool_]
) -> None:
    """In rows without a selected position, select the residue with the lowest draw, in place."""
    rows = np.flatnonzero(~selected.any(axis=1) & residue.any(axis=1))
    ranked = np.where(residue[rows], lots[rows], np.uint64(2**64 - 1))
    selected[rows, ranked.argmin(axis=1)] = True


class NextToken:
    """Predict each residue from those before it, and the end from all.

    Row i of the targets is token i + 1: `<bos>` is scored against the first residue, and the last
    residue against `<eos>`; where a window stops short of the protein's end its last row is not
    scored. `<eos>` is never read, so it is padding among the inputs.

    The Performer authors' code never predicts the end of a single protein.
    """

    causal: ClassVar[bool] = True

    def __call__(self, windows: Windows, alphabet: Alphabet) -> tuple[Codes, Targets]:
        """Return the tokens without `<eos>`, and the tokens one to the left."""
        tokens = windows.tokens
        targets = np.full(tokens.shape, IGNORE, dtype=np.int64)
        targets[:, :-1] = np.where(tokens[:, 1:] != alphabet.pad, tokens[:, 1:], IGNORE)
        inputs = np.where(tokens == alphabet.eos, np.uint8(alphabet.pad), tokens)
        used = max(1, int((inputs != alphabet.pad).sum(axis=1).max(initial=0)))
        return inputs[:, :used], targets[:, :used]
