"""Proteins with what is known of them: a number or a class of each, or a class of each residue.

Shapes: N proteins, L_i residues of protein i.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from protein_performer.errors import UserError

Task = Literal["regression", "classification", "residues"]
Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = get_args(Part)

NOT_ASKED = -1  # the class of a residue of which none is known


@dataclass(frozen=True)
class LabelledProteins:
    """What a probe is fitted to, and tested on.

    Attributes:
        task: what the labels are: numbers, classes of proteins, or classes of residues.
        names: (N,) of the proteins, for errors and outputs.
        sequences: (N,) residues, as the file has them.
        labels: (N,) arrays, of what is known of each protein: (1,) float64 for `regression`, (1,)
            int64 for `classification`, (L_i,) int64 for `residues`, NOT_ASKED where none is known.
        parts: (N,) what each protein is for.
        classes: their names, which the integers count.
        odd: what was left out, with its number.
    """

    task: Task
    names: list[str]
    sequences: list[str]
    labels: list[NDArray[Any]]
    parts: list[Part]
    classes: list[str]
    odd: Counter[str]

    def members(self, part: Part) -> list[int]:
        """The indices of a part's proteins."""
        return [i for i, each in enumerate(self.parts) if each == part]

    def warnings(self) -> Iterator[str]:
        """What was left out, and what makes the test easier than it looks."""
        for what, number in self.odd.items():
            yield f"{number:,} {what}"
        fitted = {self.sequences[i] for part in PARTS[:2] for i in self.members(part)}
        known = sum(self.sequences[i] in fitted for i in self.members("test"))
        if known:
            yield f"{known:,} test proteins are also in training or validation, letter for letter"


def check_parts(labelled: LabelledProteins, where: str) -> None:
    """Raise UserError for a part without a protein."""
    for part in PARTS:
        if not labelled.members(part):
            raise UserError(
                f"{where}: expected proteins for training, validation and test, found none for"
                f" {part}. The set (train or test) and validation (True in some of train) say"
                " what each is for."
            )


def part_of(set_: str, validation: str, where: str, names: tuple[str, str]) -> Part:
    """What a protein is for, by FLIP's two fields (Dallago et al. 2021).

    Args:
        set_: `train` or `test`.
        validation: `True` for those of `train` that parameters are chosen by; else `False` or "".
        where: file and line, for errors.
        names: of the two fields, for errors.

    Raises: UserError for anything else.
    """
    if set_ not in ("train", "test"):
        raise UserError(f"{where}, {names[0]}: expected train or test, got {set_!r}")
    if validation.lower() not in ("true", "false", ""):
        raise UserError(f"{where}, {names[1]}: expected True, False or nothing, got {validation!r}")
    if validation.lower() != "true":
        return "train" if set_ == "train" else "test"
    if set_ == "test":
        raise UserError(
            f"{where}, {names[1]}: True for a protein of the test set, which nothing is chosen by."
            f" Make its {names[0]} train, or leave this empty."
        )
    return "validation"


def classes_of(labels: list[str]) -> tuple[list[str], NDArray[np.int64]]:
    """The distinct labels in order, and for each label which one it is."""
    names, indices = np.unique(np.array(labels), return_inverse=True)
    return names.tolist(), indices.astype(np.int64)
