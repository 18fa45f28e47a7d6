"""`protein-performer probe`, as a person types it."""

import json

import numpy as np
import pytest
from tiny import tiny_config, write_checkpoint

from protein_performer import cli


@pytest.fixture
def checkpoint(tmp_path):
    write_checkpoint(tmp_path / "a.ckpt", tiny_config())
    return str(tmp_path / "a.ckpt")


@pytest.fixture
def variants(tmp_path):
    """Variants at one of 30 positions; each letter has its number."""
    letters = "ACDEFGHIKLMNPQRSTVWY"
    rows = [
        f"{'M' * 10}{letter}{'K' * 19},{i % 7},{'test' if i % 3 == 2 else 'train'},"
        f"{'True' if i % 3 == 1 else ''}\n"
        for i, letter in enumerate(np.random.default_rng(0).choice(list(letters), 60))
    ]
    (tmp_path / "variants.csv").write_text(
        "sequence,target,set,validation\nMK*,,train,\n" + "".join(rows)
    )
    return str(tmp_path / "variants.csv")


def test_a_table_and_its_figures(tmp_path, checkpoint, variants, capsys):
    figures, out = tmp_path / "figures.json", tmp_path / "out.csv"
    command = ["probe", checkpoint, variants, "--json", str(figures), "--out", str(out)]
    assert cli.main(command) == 0
    found = json.loads(figures.read_text())
    assert list(found["features"]) == [
        "composition",
        "one-hot sites",
        "untrained model",
        "model",
    ]
    assert found["proteins"] == {"train": 20, "validation": 20, "test": 20}
    assert found["left_out"] == {"rows without a target, left out": 1}
    told = capsys.readouterr()
    assert "regression: train 20 proteins, validation 20 proteins, test 20 proteins" in told.out
    model = found["features"]["model"]
    shown = f"{model['test']:.3f} ({model['test_low']:.3f} to {model['test_high']:.3f})"
    assert shown in told.out
    assert "1 rows without a target, left out" in told.err
    assert "differ at 1 positions" in told.err
    assert "--pooling sites" in told.err
    lines = out.read_text().splitlines()
    assert lines[0] == "protein,target,composition,one-hot_sites,untrained_model,model"
    assert len(lines) == 21
    assert cli.main(command) == 1  # out.csv is there
    assert "the file exists" in capsys.readouterr().err
    assert cli.main([*command, "--overwrite", "--pooling", "sites", "--layers", "0,-1"]) == 0
    assert "--pooling sites" not in capsys.readouterr().err
    assert json.loads(figures.read_text())["features"]["model"]["number"] == 32


def test_residues_of_a_folder(tmp_path, checkpoint, capsys):
    folder = tmp_path / "structure"
    folder.mkdir()
    generator = np.random.default_rng(0)
    sequences, labels = "", ""
    for i in range(12):
        letters = "".join(generator.choice(list("ACDE"), 20))
        sequences += f">p{i}\n{letters}\n"
        part = "SET=test VALIDATION=False" if i % 3 == 2 else f"SET=train VALIDATION={i % 3 == 1}"
        labels += f">p{i} {part}\n{letters.replace('A', 'H').replace('D', 'H')}\n"
    (folder / "sequences.fasta").write_text(sequences)
    (folder / "labels.fasta").write_text(labels)
    assert cli.main(["probe", checkpoint, str(folder), "--residues", "40"]) == 0
    told = capsys.readouterr().out
    assert "residues: train 2 of 4 proteins, 40 residues, validation 2 of 4 proteins" in told
    assert "test 4 proteins, 80 residues" in told
    assert "most frequent class of training: accuracy" in told
    assert "100.00 %" in told.replace("%", " %").replace("  ", " ")


@pytest.mark.parametrize(
    ("labelled", "arguments", "message"),
    [
        ("none.csv", [], "there is no such file or folder"),
        ("folder", ["--task", "regression"], "--task is of tables"),
        ("variants.csv", ["--out", "a.txt"], "expected a name that ends in .csv"),
        ("variants.csv", ["--layers", "7"], "layers: expected -3 to 2"),
    ],
)
def test_mistakes_are_told_in_one_line(
    tmp_path, checkpoint, variants, labelled, arguments, message, capsys
):
    (tmp_path / "folder").mkdir()
    assert cli.main(["probe", checkpoint, str(tmp_path / labelled), *arguments]) == 1
    told = capsys.readouterr().err.strip().splitlines()
    assert told[-1].startswith("error: ")
    assert message in told[-1]
