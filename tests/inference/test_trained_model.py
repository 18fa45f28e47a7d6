import pytest
import torch
from tiny import RELU, SOFTMAX, tiny_config, write_checkpoint
from torch.testing import assert_close

import protein_performer as pp
from protein_performer.errors import UserError
from protein_performer.inference import batched_model
from protein_performer.inference.trained_model import TrainedModel

SEQUENCES = ["MKTAYIAKQR", "ACDEF", "M", "mktayiakqrqiswksvlm"]


def load(tmp_path, objective="mlm", attention=SOFTMAX, **options):
    write_checkpoint(tmp_path / "a.ckpt", tiny_config(objective, attention=attention), **options)
    return pp.load(tmp_path / "a.ckpt", device="cpu")


@pytest.mark.parametrize("objective", ["mlm", "causal"])
@pytest.mark.parametrize("attention", [SOFTMAX, RELU])
def test_a_sequence_alone_is_as_in_any_batch(tmp_path, objective, attention):
    lm = load(tmp_path, objective, attention)
    together, embedded = lm.logits(SEQUENCES), lm.embed(SEQUENCES)
    lm.batch_tokens = 1
    for sequence, rows, vector in zip(SEQUENCES, together, embedded, strict=True):
        assert rows.shape == (len(sequence), 30)
        assert_close(lm.logits([sequence])[0], rows, rtol=1e-5, atol=1e-5)
        assert_close(lm.embed([sequence])[0], vector, rtol=1e-5, atol=1e-5)
    assert_close(lm.embed(SEQUENCES[::-1]).flip(0), embedded, rtol=1e-5, atol=1e-5)


def test_row_i_of_a_causal_model_scores_residue_i_from_those_before(tmp_path):
    lm = load(tmp_path, "causal")
    alphabet, sequence = lm.alphabet, "MKTAYIAK"
    tokens = torch.tensor([[alphabet.bos, *alphabet.encode(sequence).tolist()]])
    wanted = lm.network(tokens)[0]
    assert_close(lm.logits([sequence])[0], wanted[:8], rtol=1e-5, atol=1e-5)
    changed = lm.logits(["MKTAWIAK"])[0]
    assert_close(changed[:5], wanted[:5], rtol=0, atol=1e-6)  # residue 4 is not its own context
    assert (changed[5:] - wanted[5:8]).abs().max() > 1e-4


def test_row_i_of_a_masked_model_stands_at_residue_i(tmp_path):
    lm = load(tmp_path, "mlm")
    alphabet, sequence = lm.alphabet, "MKTAYIAK"
    codes = alphabet.encode(sequence).tolist()
    wanted = lm.network(torch.tensor([[alphabet.bos, *codes, alphabet.eos]]))[0]
    assert_close(lm.logits([sequence])[0], wanted[1:9], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("objective", ["mlm", "causal"])
def test_means_are_of_residues_only(tmp_path, objective):
    lm = load(tmp_path, objective)
    rows = lm.embed(SEQUENCES, pooling="residue")
    assert [len(each) for each in rows] == [len(sequence) for sequence in SEQUENCES]
    means = torch.stack([each.mean(0) for each in rows])
    assert_close(lm.embed(SEQUENCES, pooling="mean"), means, rtol=0, atol=0)
    assert lm.embed(SEQUENCES).shape == (4, lm.width)
    assert lm.embed([]).shape == (0, lm.width)


def test_unknown_characters_follow_the_trainings_policy_and_keep_rows_aligned(tmp_path):
    assert_close(load(tmp_path, policy="unknown").logits(["MK*A"]), load(tmp_path).logits(["MKXA"]))
    skipping = load(tmp_path, policy="skip")
    assert len(skipping.logits(["MK*A"])[0]) == 4
    with pytest.raises(UserError, match=r"sequence 1: .*'\*' at position 3"):
        load(tmp_path, policy="error").logits(["MK", "MK*A"])


def test_what_cannot_be_embedded_is_refused(tmp_path):
    lm = load(tmp_path)
    with pytest.raises(UserError, match="sequence 1: expected residues"):
        lm.embed(["MK", ""])
    with pytest.raises(UserError, match="expected mean, max, bos, eos or residue"):
        lm.embed(["MK"], pooling="cls")


@pytest.mark.parametrize("pooling", ["mean", "residue"])
def test_a_bare_string_is_one_protein(tmp_path, pooling):
    lm = load(tmp_path)
    bare, listed = lm.embed("MKT", pooling), lm.embed(["MKT"], pooling)
    assert len(bare) == 1
    assert_close(bare[0], listed[0], rtol=0, atol=0)
    assert [rows.shape for rows in lm.logits("MKT")] == [(3, 30)]
    assert [found.residues for found in lm.score("MKT")] == [3]


def test_bf16_is_near_float32_and_other_precisions_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(batched_model, "multiplies_bfloat16", lambda device: True)
    exact = load(tmp_path)
    cast = TrainedModel(exact.checkpoint, "cpu", precision="bf16")
    wanted, got = exact.embed(SEQUENCES), cast.embed(SEQUENCES)
    assert got.dtype == torch.float32
    assert 0 < (got - wanted).norm() < 0.05 * wanted.norm()
    with pytest.raises(UserError, match="precision: expected float32 or bf16"):
        TrainedModel(exact.checkpoint, "cpu", precision="fp8")


@pytest.mark.parametrize("device", ["cuda:99", "abc", "vulkan"])
def test_a_device_that_is_not_there_is_one_message(tmp_path, device):
    load(tmp_path)
    with pytest.raises(UserError, match=f"device '{device}': not on this machine"):
        pp.load(tmp_path / "a.ckpt", device=device)


def test_bf16_is_float32_on_a_cpu_without_such_products(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(batched_model, "multiplies_bfloat16", lambda device: False)
    exact = load(tmp_path)
    cast = TrainedModel(exact.checkpoint, "cpu", precision="bf16")
    assert "no bfloat16 products" in caplog.text
    assert torch.equal(cast.embed(["MKTAYIAK"]), exact.embed(["MKTAYIAK"]))
