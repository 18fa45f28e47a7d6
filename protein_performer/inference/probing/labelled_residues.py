"""FASTA files with a class of each residue: FLIP's secondary structure.

Three files of the same proteins: `sequences`, the labels (a letter a residue; `SET=train` or `test`
and `VALIDATION=True` or `False` in the header) and perhaps `mask` (1 where the label is known).
Source: Dallago et al. 2021, FLIP, and the files beside it.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from protein_performer.data.reading.columns import parse_records, record_place
from protein_performer.data.reading.reader import Place, read_from
from protein_performer.data.reading.record import ReadCounts, Record
from protein_performer.data.reading.sources import expand
from protein_performer.data.reading.text_blocks import TextBlock
from protein_performer.errors import UserError
from protein_performer.inference.probing.labelled_proteins import (
    NOT_ASKED,
    LabelledProteins,
    Part,
    check_parts,
    part_of,
)

SEQUENCES, MASK = "sequences", "mask"
FASTA_SUFFIXES = (".fasta", ".fasta.gz", ".fa", ".fa.gz")
_FIELD = re.compile(r"\b(SET|VALIDATION)=(\S*)")


class _Entry(NamedTuple):
    """A record with its place, which is looked for in errors only: that takes a while."""

    record: Record
    block: TextBlock
    number: int  # in its block

    @property
    def text(self) -> str:
        return self.record.sequence

    @property
    def where(self) -> str:
        return f"{record_place(self.block, self.number)} ({self.record.accession})"


def read_labelled_residues(path: Path) -> LabelledProteins:
    """Read the three files, in the order of the sequences.

    Args:
        path: of the folder, or, where it has several files of labels, of one of them. The files end
            in `.fasta` or `.fa`, perhaps `.gz`.

    Raises: UserError, naming file, line and accession. Proteins that one of the files lacks, or of
        which nothing is known, are left out, and counted.
    """
    sequences, labels, mask = _find(path)
    known = _entries(labels)
    masks = None if mask is None else _entries(mask)
    odd: Counter[str] = Counter()
    found: list[tuple[str, str, str, Part]] = []
    proteins = _entries(sequences)
    for accession, protein in proteins.items():
        label = known.pop(accession, None)
        shown = None if masks is None else masks.pop(accession, None)
        if label is None or (masks is not None and shown is None):
            odd[f"sequences without {'labels' if label is None else 'a mask'}, left out"] += 1
            continue
        text = _shown_labels(protein, label, shown)
        if not text.strip():
            odd["proteins without a known label, left out"] += 1
            continue
        found.append((accession, protein.text, text, _part(label)))
    for what, rest in (("labels", known), ("masks", masks or {})):
        if rest:
            odd[f"{what} without a sequence, left out"] += len(rest)
    classes = sorted({letter for _, _, text, _ in found for letter in text} - {" "})
    labelled = LabelledProteins(
        task="residues",
        names=[accession for accession, _, _, _ in found],
        sequences=[sequence for _, sequence, _, _ in found],
        labels=[_indices(text, classes) for _, _, text, _ in found],
        parts=[part for _, _, _, part in found],
        classes=classes,
        odd=odd,
    )
    check_parts(labelled, str(labels))
    return labelled


def _find(path: Path) -> tuple[Path, Path, Path | None]:
    """The files of sequences, labels and, if there is one, the mask."""
    folder = path if path.is_dir() else path.parent
    files = {each.name.partition(".")[0]: each for each in _fasta_files(folder)}
    sequences, mask = files.pop(SEQUENCES, None), files.pop(MASK, None)
    if sequences is None:
        raise UserError(
            f"{folder}: expected {SEQUENCES}.fasta(.gz) there, found"
            f" {', '.join(sorted(each.name for each in files.values())) or 'no FASTA file'}"
        )
    if not path.is_dir():
        return sequences, path, mask
    if len(files) != 1:
        raise UserError(
            f"{folder}: expected one file of labels beside {sequences.name}, found"
            f" {', '.join(sorted(each.name for each in files.values())) or 'none'}. Name the file"
            " itself where there are several."
        )
    return sequences, next(iter(files.values())), mask


def _fasta_files(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if each.name.endswith(FASTA_SUFFIXES))


def _entries(path: Path) -> dict[str, _Entry]:
    """The records of a file by accession."""
    entries: dict[str, _Entry] = {}
    for entry in _read(path):
        accession = entry.record.accession
        if accession in entries:
            raise UserError(
                f"{entry.where}: a second record of this name, where labels are found by names"
            )
        entries[accession] = entry
    return entries


def _read(path: Path) -> Iterator[_Entry]:
    counts = ReadCounts()
    for block, _ in read_from(expand([str(path)]), Place(), counts):
        for number, record in enumerate(parse_records(block, counts)):
            yield _Entry(record, block, number)


def _shown_labels(protein: _Entry, label: _Entry, mask: _Entry | None) -> str:
    """The label of each residue; a space where none is known."""
    for other in [label] if mask is None else [label, mask]:
        if len(other.text) != len(protein.text):
            raise UserError(
                f"{other.where}: expected {len(protein.text):,} letters, one for each residue of"
                f" {protein.where}, got {len(other.text):,}"
            )
    if mask is None:
        return label.text
    if set(mask.text) - {"0", "1"}:
        column = next(i for i, each in enumerate(mask.text, 1) if each not in "01")
        raise UserError(
            f"{mask.where}: expected 0 and 1, got {mask.text[column - 1]!r} at position {column:,}"
        )
    return "".join(
        letter if shown == "1" else " " for letter, shown in zip(label.text, mask.text, strict=True)
    )


def _part(label: _Entry) -> Part:
    fields = dict(_FIELD.findall(label.record.description))
    if "SET" not in fields:
        raise UserError(f"{label.where}: expected SET=train or SET=test in the header")
    values, names = (fields["SET"], fields.get("VALIDATION", "")), ("SET=", "VALIDATION=")
    try:
        return part_of(*values, "", names)
    except UserError:  # once more, with the place, which takes a while to find
        return part_of(*values, label.where, names)


def _indices(text: str, classes: list[str]) -> NDArray[np.int64]:
    """Which class each letter is; NOT_ASKED for a space."""
    table = np.full(256, NOT_ASKED)
    table[[ord(each) for each in classes]] = range(len(classes))
    return table[np.frombuffer(text.encode("latin-1"), np.uint8)]
