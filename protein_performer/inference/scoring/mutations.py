"""Variants of a protein as the field writes them: `A123G`, several joined by `:`, from 1."""

import re
from itertools import pairwise
from typing import NamedTuple

from protein_performer.errors import UserError

WILD_TYPE = "WT"  # a variant without mutations

_MUTATION = re.compile(r"([A-Za-z])([0-9]+)([A-Za-z])")


class Mutation(NamedTuple):
    """One residue in another's place.

    Attributes:
        position: of the residue, from 0.
        wild, mutant: upper-case letters.
    """

    position: int
    wild: str
    mutant: str


Variant = tuple[Mutation, ...]


def parse_variant(text: str, where: str = "variant") -> Variant:
    """The mutations of a variant, in order of position.

    Args:
        text: such as `A123G:T45K`, in any order and case; `WT` for none.
        where: file and row, for errors.

    Raises: UserError for anything else, and for two mutations of one residue.

    >>> parse_variant("T45K:A12G")
    (Mutation(position=11, wild='A', mutant='G'), Mutation(position=44, wild='T', mutant='K'))
    """
    text = text.strip()
    if text.upper() == WILD_TYPE:
        return ()
    found = []
    for part in text.split(":"):
        match = _MUTATION.fullmatch(part.strip())
        if match is None or int(match[2]) < 1:
            raise UserError(
                f"{where}: expected mutations such as A123G or A123G:T45K (residue, position from"
                f" 1, new residue), or {WILD_TYPE}; got {part!r} in {text!r}. Insertions,"
                " deletions and stops cannot be scored so."
            )
        found.append(Mutation(int(match[2]) - 1, match[1].upper(), match[3].upper()))
    variant = tuple(sorted(found))
    for first, second in pairwise(variant):
        if first.position == second.position:
            raise UserError(f"{where}: {text!r} has two mutations of residue {first.position + 1}")
    return variant


def write_variant(variant: Variant) -> str:
    """As `parse_variant` reads it.

    >>> write_variant(parse_variant("t45k:a12g"))
    'A12G:T45K'
    """
    parts = [f"{each.wild}{each.position + 1}{each.mutant}" for each in variant]
    return ":".join(parts) or WILD_TYPE


def check_variant(variant: Variant, wild_type: str, letters: str, where: str = "variant") -> None:
    """Raise UserError unless the wild type has the variant's wild residues where it says so.

    Args:
        variant: of `parse_variant`.
        wild_type: upper-case residues.
        letters: that a mutant residue may be: the model's alphabet.
        where: file and row.
    """
    for mutation in variant:
        text = write_variant((mutation,))
        if mutation.position >= len(wild_type):
            raise UserError(
                f"{where}: {text}: there is no residue {mutation.position + 1}, the wild type has"
                f" {len(wild_type)} residues. Does the file count from another residue?"
            )
        found = wild_type[mutation.position]
        if found != mutation.wild:
            raise UserError(
                f"{where}: {text}: residue {mutation.position + 1} of the wild type is {found}, not"
                f" {mutation.wild}. Is this its wild type, and does the file count from its first"
                " residue, as 1?"
            )
        if mutation.mutant not in letters:
            raise UserError(f"{where}: {text}: the model has no residue {mutation.mutant}")


def mutate(wild_type: str, variant: Variant) -> str:
    """The variant's sequence.

    >>> mutate("MKTA", parse_variant("K2R:A4G"))
    'MRTG'
    """
    residues = list(wild_type)
    for mutation in variant:
        residues[mutation.position] = mutation.mutant
    return "".join(residues)
