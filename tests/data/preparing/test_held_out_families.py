"""Flat files that state Pfam families, through `prepare`: held-out families stay held out."""

import json
import random

import pytest
from data.made_up import sequences, write_flat

from protein_performer import cli
from protein_performer.alphabet import Alphabet
from protein_performer.data.manifest import open_split, read_manifest
from protein_performer.data.reading.pfam import PAPER_OOD_FAMILIES
from protein_performer.data.splits import SPLITS


@pytest.mark.parametrize("by", ["sequence", "accession"])
def test_every_protein_of_the_papers_families_is_ood_and_nowhere_else(tmp_path, by):
    """Whatever other families it is of, and not even as a copy that states none."""
    lots = random.Random(0)
    proteins = list(dict.fromkeys(sequences(1_200, longest=150, seed=2)))
    entries, members = [], {}
    for i, sequence in enumerate(proteins):
        families = [f"PF{90000 + lots.randrange(50)}" for _ in range(lots.randrange(3))]
        if i % 5 == 0:
            family = PAPER_OOD_FAMILIES[i // 5 % 20]
            families.insert(lots.randrange(len(families) + 1), family)
            members.setdefault(family, set()).add(sequence)
        entries.append((f"A0A{i:04}", sequence, tuple(families)))
    assert len(members) == 20
    held_out = set().union(*members.values())
    copies = [(f"B0B{i:04}", proteins[i], ()) for i in range(0, len(proteins), 25)]
    source = write_flat(tmp_path / "made_up.dat", [*copies, *entries])
    out, figures = tmp_path / "out", tmp_path / "figures.json"
    shares = ["--split-val", "0.1", "--split-test", "0.2", "--split-by", by]
    command = ["prepare", str(source), str(out), "--workers", "0", *shares]
    assert cli.main([*command, "--split-families", "paper", "--json", str(figures)]) == 0
    manifest = read_manifest(out)
    found = {
        name: {Alphabet().decode(each) for each in open_split(out, manifest, name)}
        for name in SPLITS
    }
    assert found["ood"] == held_out
    assert found["train"] | found["val"] | found["test"] == set(proteins) - held_out
    assert min(map(len, found.values())) > 50
    report = json.loads(figures.read_text())
    across = [report["splits"][name]["copies_across_splits"] for name in SPLITS]
    assert sum(across) == len(copies)
    assert across[-1] == 0
