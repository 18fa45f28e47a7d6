import json

import numpy as np
import pytest
from tiny import RELU, tiny_config, write_checkpoint

from protein_performer.cli import main

FASTA = (
    ">sp|P1/..|a\nMKTAYIAKQRQISFVKSHFSRQMKTAYIAKQRQISF\n>P2\nACDEFGHIKLMNPQRSTVWYACDEFGHIKLMN\n" * 8
)


@pytest.fixture
def files(tmp_path):
    write_checkpoint(tmp_path / "a.ckpt", tiny_config("mlm", RELU, num_heads=4))
    (tmp_path / "proteins.fasta").write_text(FASTA)
    return [str(tmp_path / name) for name in ("a.ckpt", "proteins.fasta", "out")]


def test_writes_pictures_and_figures(tmp_path, files, capsys):
    assert main(["attention", *files, "--maps", "2", "--features", "16", "32"]) == 0
    out = tmp_path / "out"
    names = {path.name for path in out.iterdir()}
    pictures = {"maps_1.png", "maps_2.png", "similarity.png", "approximation.png"}
    assert names == pictures | {"maps.npz", "attention.json"}
    assert all((out / name).read_bytes()[1:4] == b"PNG" for name in pictures)
    assert np.load(out / "maps.npz")["maps_1"].shape == (2, 4, 38, 38)
    figures = json.loads((out / "attention.json").read_text())
    assert figures["proteins"] == 16
    assert figures["similarity"]["heads"] == 8
    assert {row["features"] for row in figures["approximation"]} == {0, 16, 32}
    assert "BLOSUM62" in capsys.readouterr().out


def test_few_heads_leave_the_rest_standing(tmp_path, files, capsys):
    (tmp_path / "proteins.fasta").write_text(">a\nMKT\n")
    assert main(["attention", *files, "--features", "16"]) == 0
    assert "at least 3 heads" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "attention.json").read_text())["similarity"] is None


def test_a_folder_with_something_in_it_is_kept(tmp_path, files, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").touch()
    assert main(["attention", *files]) == 1
    assert "an empty folder" in capsys.readouterr().err
