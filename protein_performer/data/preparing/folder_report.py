"""What lies in a prepared folder and what became of the records, added up."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protein_performer.alphabet import Alphabet
from protein_performer.byte_alphabet import alphabet_from
from protein_performer.data.reading.record import ReadCounts
from protein_performer.reporting.data_report import (
    LONG,
    FolderReport,
    LengthCounts,
    SplitContents,
    describe_lengths,
)


def describe_folder(manifest: Mapping[str, Any], counts: LengthCounts) -> FolderReport:
    """Add up what a prepared folder holds.

    Args:
        manifest: of the folder.
        counts: of every split of it.
    """
    alphabet = alphabet_from(manifest["definition"]["alphabet"])
    letters = alphabet.letter_names
    entries = manifest["splits"]
    longest = max(map(len, counts.values()))
    together = np.sum([np.pad(each, (0, longest - len(each))) for each in counts.values()], axis=0)
    return FolderReport(
        read=manifest["read"],
        emptied=manifest["emptied"],
        repeated_accessions=manifest["repeated_accessions"],
        warnings=[*ReadCounts(**manifest["read"]).warnings(), *_about_table(manifest)],
        splits={
            name: _describe_split([entry], counts[name], letters) for name, entry in entries.items()
        },
        all=_describe_split(list(entries.values()), together, letters),
        unit=alphabet.unit,
    )


def _about_table(manifest: Mapping[str, Any]) -> list[str]:
    """A table of what is held out alone (ood=1) need not name the rest; any other one should."""
    unlisted = manifest.get("unlisted_accessions", 0)
    rule = manifest["definition"].get("splits", {})
    if not unlisted or rule["ood"] == 1:
        return []
    return [
        f"{unlisted:,} record(s) that {rule['clusters']} does not name: they are in training or in"
        " random splits, though they may be relatives of proteins that are held out"
    ]


def _describe_split(
    entries: Sequence[Mapping[str, Any]], counts: NDArray[np.int64], letters: Sequence[str]
) -> SplitContents:
    by_token = np.sum([entry["residue_counts"] for entry in entries], axis=0)
    by_letter = by_token[Alphabet.first_letter :]
    characters = {
        kind: sum(entry["characters"][kind] for entry in entries)
        for kind in ("lower_case", "rare", "unknown", "skipped")
    }
    return SplitContents(
        lengths=describe_lengths(counts),
        residues=sum(entry["residues"] for entry in entries),
        long=int(counts[LONG + 1 :].sum()),
        duplicates=sum(entry["duplicates"] for entry in entries),
        copies_across_splits=sum(entry["copies_across_splits"] for entry in entries),
        **characters,
        residue_shares=dict(
            zip(letters, (by_letter / max(1, int(by_letter.sum()))).tolist(), strict=True)
        ),
    )
