import json
import math

import numpy as np
import pytest
import torch
import yaml
from breaking import BrokenOff
from runs import compose_run, losses, write_proteins

import protein_performer as pp
from protein_performer.errors import UserError
from protein_performer.ngram import NGrams
from protein_performer.reporting.runs import read_run
from protein_performer.reporting.tables import comparison_table, results_table
from protein_performer.training.lightning import WholeCheckpoints
from train import train

METRICS = [
    *(f"{s}/{m}" for s in ("test", "ood") for m in ("accuracy", "perplexity", "residues", "loss")),
    *(f"{s}/empirical_{m}" for s in ("test", "ood") for m in ("accuracy", "perplexity")),
    *(f"{s}/ngram_{m}" for s in ("test", "ood") for m in ("accuracy", "perplexity", "order")),
    "val/perplexity",
    "train/steps",
    "train/residues",
    "train/seconds",
    "model/parameters",
]


@pytest.fixture(scope="module")
def fasta(tmp_path_factory):
    return write_proteins(tmp_path_factory.mktemp("proteins"))


@pytest.mark.parametrize("objective", ["mlm", "causal"])
def test_a_run_leaves_its_folder_complete(tmp_path, fasta, objective):
    metrics = train(compose_run(tmp_path, fasta, f"objective={objective}"))
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert set(METRICS) <= set(metrics)
    assert all(math.isfinite(metrics[name]) for name in METRICS)
    assert metrics["train/steps"] == 6
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert config["model"]["causal"] is (objective == "causal")
    assert sorted(losses(tmp_path)) == list(range(6))
    for picture in ("ood_confusion", "curves"):
        assert (tmp_path / "figures" / f"{picture}.png").stat().st_size > 10_000
    letters = read_run(tmp_path).letters["test"]
    assert sum(asked for asked, _ in letters.values()) == metrics["test/residues"]
    right = sum(right for _, right in letters.values())
    assert right == pytest.approx(metrics["test/accuracy"] * metrics["test/residues"])
    for name in ("best", "last"):
        path = tmp_path / "checkpoints" / f"{name}.ckpt"
        assert torch.load(path, weights_only=True)["global_step"] <= 6
        lm = pp.load(path, device="cpu")
        assert lm.logits(["MKTAYIAK"])[0].shape == (8, 30)
        assert lm.network.causal is (objective == "causal")


def test_the_empirical_baseline_is_of_the_training_residues(tmp_path, fasta):
    """Recomputed from the files alone, for the causal objective, which scores every residue."""
    cfg = compose_run(tmp_path, fasta, "objective=causal", "trainer.max_steps=1")
    metrics = train(cfg)
    from hydra.utils import instantiate

    data = instantiate(cfg.data)
    counts = data.residue_counts().double()[4:] + 1
    log_frequency = (counts / counts.sum()).log()
    nll, residues = 0.0, 0
    for codes in (data.split("test").residues(i) for i in range(len(data.split("test")))):
        window = torch.from_numpy(codes[:64].astype(int)) - 4
        nll -= log_frequency[window].sum().item()
        residues += len(window)
    assert metrics["test/residues"] == residues
    assert metrics["test/empirical_perplexity"] == pytest.approx(math.exp(nll / residues))


def test_n_grams_of_the_training_split_are_tested_beside_the_model(tmp_path, fasta):
    """Recomputed protein by protein, for the causal objective, which scores every residue."""
    cfg = compose_run(tmp_path, fasta, "objective=causal", "trainer.max_steps=1")
    metrics = train(cfg)
    from hydra.utils import instantiate

    data = instantiate(cfg.data)
    ngrams = NGrams(26, 4, 5)
    ngrams.add(data.split("train"))
    for name in ("test", "ood"):
        nll, correct, residues = np.zeros(5), np.zeros(5), 0
        for codes in (data.split(name).residues(i)[:64] for i in range(len(data.split(name)))):
            p = ngrams.probabilities(ngrams.histories(codes[None])[0])
            nll -= np.log(p[:, np.arange(len(codes)), codes - 4]).sum(1)
            correct += (p.argmax(-1) == codes - 4).sum(1)
            residues += len(codes)
        best = int(nll.argmin())
        assert metrics[f"{name}/ngram_order"] == best + 1
        expected = math.exp(nll[best] / residues)
        assert metrics[f"{name}/ngram_perplexity"] == pytest.approx(expected, rel=1e-5)
        assert metrics[f"{name}/ngram_accuracy"] == pytest.approx(correct[best] / residues)


def test_a_checkpoint_is_whole_at_every_moment(tmp_path, monkeypatch):
    """Where the temporary folder is another file system, Lightning's own overwrites in place."""
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"step": 1}, path)

    def tear(checkpoint, path):
        path.write_bytes(b"half")
        raise BrokenOff

    monkeypatch.setattr(torch, "save", tear)
    with pytest.raises(BrokenOff):
        WholeCheckpoints().save_checkpoint({"step": 2}, path)
    assert torch.load(path) == {"step": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["last.ckpt"]


def test_two_runs_of_one_seed_are_equal_and_of_two_are_not(tmp_path, fasta):
    curves = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(compose_run(tmp_path / name, fasta, f"seed={seed}", "trainer.max_steps=3"))
        curves.append(losses(tmp_path / name))
    assert curves[0] == curves[1] != curves[2]


def test_without_held_out_clusters_there_is_no_ood(tmp_path, fasta):
    cfg = compose_run(tmp_path, fasta, "data.splits.ood=0", "data.splits.clusters=null")
    metrics = train(cfg)
    assert math.isfinite(metrics["test/perplexity"])
    assert not any(name.startswith("ood/") for name in metrics)
    pictures = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert pictures == ["curves.png", "test_confusion.png"]
    assert not any("OOD" in str(column.header) for column in results_table(metrics).columns)
    assert "-" in [cell for c in comparison_table([tmp_path]).columns for cell in c.cells]


def test_a_model_that_would_see_its_answers_is_refused(tmp_path, fasta):
    overrides = ("objective=causal", "objective.causal=false")
    with pytest.raises(UserError, match=r"objective\.causal: .*objective\.task=NextToken"):
        train(compose_run(tmp_path / "run", fasta, *overrides))
