import json
import sys
from types import SimpleNamespace

import pytest
import torch

from benchmarks.inference import __main__ as inference
from benchmarks.inference.__main__ import QUICK, main, performer


class Peer(torch.nn.Module):
    """Takes and gives what EsmModel does."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(30, QUICK.width)
        self.seen = []

    def forward(self, input_ids, attention_mask):
        states = self.embedding(input_ids)
        self.seen.append((tuple(input_ids.shape), torch.is_autocast_enabled("cpu")))
        return SimpleNamespace(last_hidden_state=states)


@pytest.fixture
def peer(monkeypatch):
    found = Peer()
    monkeypatch.setattr(inference, "esm_model", lambda sizes, longest: found)
    return found


def test_each_length_and_precision_has_its_rows(tmp_path, peer, capsys):
    out = tmp_path / "figures.json"
    assert main(["--quick", "--rounds", "2", "--json", str(out)]) == 0
    figures = json.loads(out.read_text())
    found = {(row["length"], row["precision"], row["model"]) for row in figures["rows"]}
    assert found == {
        (length, precision, f"FAVOR+ {kernel}")
        for length in QUICK.lengths
        for precision in ("float32", "bf16")
        for kernel in ("relu", "softmax")
    }
    for row in figures["rows"]:
        assert row["residues_per_second"] > 0
        assert row["times_faster"]["rounds"] == 2
    assert "FAVOR+ softmax" in capsys.readouterr().out
    # 128 tokens a batch: four rows of 32, two of 64, in either precision, beside the warm-up.
    for shape in ((4, 32), (2, 64)):
        assert {cast for seen, cast in peer.seen if seen == shape} == {False, True}


def test_the_models_are_of_equal_size(peer):
    ours = sum(p.numel() for p in performer(QUICK, "relu").blocks.parameters())
    width = QUICK.width
    layer = 4 * (width * width + width) + 8 * width * width + 5 * width + 4 * width
    assert ours == QUICK.layers * layer


def test_a_missing_peer_is_one_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert main(["--quick"]) == 1
    assert "pip install 'protein-performer[peers]'" in capsys.readouterr().err
