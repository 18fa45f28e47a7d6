"""ESM-2 read from Hugging Face's folders: the same logits, and clear errors."""

import json
import logging

import numpy as np
import pytest
import torch
from runs import compose_run, write_proteins
from transformers import AutoModelForMaskedLM, EsmConfig, EsmForMaskedLM

import protein_performer as pp
from protein_performer.alphabet import Alphabet
from protein_performer.cli import main
from protein_performer.errors import UserError
from protein_performer.inference.hub import local_path
from protein_performer.model.config import TrunkConfig
from protein_performer.model.token_dropout import drop_masked
from train import train

VOCABULARY = [
    "<cls>",
    "<pad>",
    "<eos>",
    "<unk>",
    *"LAGVSERTIDPKQNFYMHWCXBUZO.-",
    "<null_1>",
    "<mask>",
]
SIZES = {
    "two layers": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    "three layers": {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2},
}
SEQUENCES = ["MKTAYIAKQRQISFVKSHFSRQ", "ACDEFGHIKLMNPQRSTVWYXBUZO", "M"]


def esm(folder, *, random=True, **options):
    """Hugging Face's model with random weights, saved in the folder."""
    sizes = {**SIZES["two layers"], **options}
    config = EsmConfig(
        vocab_size=33,
        mask_token_id=32,
        pad_token_id=1,
        intermediate_size=4 * sizes["hidden_size"],
        position_embedding_type="rotary",
        layer_norm_eps=1e-5,
        **{"token_dropout": True, "emb_layer_norm_before": False, **sizes},
    )
    torch.manual_seed(1)
    model = EsmForMaskedLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model


def their_logits(model, rows):
    """(B, L, V) in the order of our alphabet, of rows of their tokens, padded."""
    codes = [[VOCABULARY.index(token) for token in row] for row in rows]
    longest = max(map(len, codes))
    tokens = torch.tensor([row + [1] * (longest - len(row)) for row in codes])
    ours = [*Alphabet.specials, *Alphabet().letters]
    order = [VOCABULARY.index({"<bos>": "<cls>", "J": "<unk>"}.get(token, token)) for token in ours]
    with torch.no_grad():
        return model(tokens, attention_mask=(tokens != 1).long()).logits[..., order]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("token_dropout", [True, False])
def test_the_logits_are_those_of_transformers(tmp_path, size, token_dropout):
    model = esm(tmp_path, token_dropout=token_dropout, **SIZES[size])
    rows = [["<cls>", *sequence, "<eos>"] for sequence in SEQUENCES]
    expected = their_logits(model, rows)
    lm = pp.load(tmp_path, device="cpu")
    for i, logits in enumerate(lm.logits(SEQUENCES)):
        wanted = expected[i, 1 : len(SEQUENCES[i]) + 1]
        assert (logits - wanted).abs().max() < 1e-4
        assert wanted.abs().max() > 1  # or nothing would be compared


@pytest.mark.parametrize("token_dropout", [True, False])
def test_masked_residues_too(tmp_path, token_dropout):
    model = esm(tmp_path, token_dropout=token_dropout)
    rows = [["<cls>", "M", "<mask>", "T", "<mask>", "Y", "<eos>"], ["<cls>", "<mask>", "<eos>"]]
    expected = their_logits(model, rows)
    network = pp.load(tmp_path, device="cpu").network
    alphabet = Alphabet()
    bos, eos, mask = alphabet.bos, alphabet.eos, alphabet.mask
    m, t, y = alphabet.encode("MTY").tolist()
    tokens = torch.tensor([[bos, m, mask, t, mask, y, eos], [bos, mask, eos, 0, 0, 0, 0]])
    with torch.no_grad():
        logits = network(tokens, tokens != 0)
    assert (logits[0] - expected[0]).abs().max() < 1e-4
    assert (logits[1, :3] - expected[1, :3]).abs().max() < 1e-4


def test_a_letter_that_esm_lacks_is_read_as_unknown(tmp_path):
    model = esm(tmp_path)
    expected = their_logits(model, [["<cls>", "M", "<unk>", "K", "<eos>"]])
    (logits,) = pp.load(tmp_path, device="cpu").logits("MJK")
    assert (logits - expected[0, 1:4]).abs().max() < 1e-4


def test_it_trains_on_with_linear_attention(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    esm(tmp_path / "esm")
    widths = ["d_model=32", "num_layers=2", "num_heads=4", "d_ff=128", "bias=true"]
    widths += ["activation=gelu", "head=two_layer", "token_dropout=0.12", "convolution=null"]
    overrides = [f"model.{each}" for each in widths]
    fasta = write_proteins(tmp_path / "proteins")
    run = tmp_path / "run"
    train(
        compose_run(
            run, fasta, "model=performer_softmax", *overrides, f"init_from={tmp_path / 'esm'}"
        )
    )
    parameters = json.loads((run / "metrics.json").read_text())["model/parameters"]
    assert f"{parameters:,} of {parameters:,} parameters taken" in caplog.text
    assert pp.load(run, device="cpu").embed(SEQUENCES).shape == (3, 32)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"emb_layer_norm_before": True}, "expected emb_layer_norm_before=False"),
        ({"position_embedding_type": "absolute"}, "expected position_embedding_type=rotary"),
        ({"vocab_size": 40}, "expected 40 tokens in vocab.txt"),
        ({"num_hidden_layers": 3}, "found none of the name"),
        ({"num_hidden_layers": 1}, "weights have no place, such as esm.encoder.layer.1"),
        ({"hidden_size": 48}, "the weights do not fit config.json"),
        ({"intermediate_size": None}, "model.d_ff: expected int"),
    ],
)
def test_what_is_no_esm_2_is_refused(tmp_path, changed, reason):
    esm(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(UserError, match=reason):
        pp.load(tmp_path, device="cpu")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_damaged_file_is_one_line(tmp_path, name):
    esm(tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-20])
    with pytest.raises(UserError, match=name):
        pp.load(tmp_path, device="cpu")


def test_older_folders_with_a_pickle_of_tensors_are_read(tmp_path):
    model = esm(tmp_path)
    (before,) = pp.load(tmp_path, device="cpu").logits("MKT")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"expected model\.safetensors or pytorch_model\.bin"):
        pp.load(tmp_path, device="cpu")
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    (after,) = pp.load(tmp_path, device="cpu").logits("MKT")
    assert torch.equal(before, after)


def test_a_path_that_exists_is_never_asked_for_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "facebook" / "mine").mkdir(parents=True)
    assert local_path("facebook/mine").is_dir()


def test_a_name_that_cannot_be_fetched_says_so(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="no such path here"):
        local_path("facebook/no_such_model_at_all")


def test_masked_tokens_are_zeros_and_the_others_as_large_as_in_training():
    tokens = torch.tensor([[1, 3, 5, 2], [1, 3, 2, 0]])
    mask = tokens != 0
    x = torch.ones(2, 4, 1)
    factors = np.array([0.88 / (1 - 1 / 4), 0.88 / (1 - 1 / 3)])
    expected = factors[:, None] * np.array([[1, 0, 1, 1], [1, 0, 1, 1]])
    np.testing.assert_allclose(drop_masked(x, tokens, mask, 0.12)[..., 0], expected, rtol=1e-6)


def test_a_causal_model_cannot_count_the_masked_tokens_of_a_row():
    with pytest.raises(UserError, match=r"model\.token_dropout"):
        TrunkConfig(8, 1, 2, 16, causal=True, token_dropout=0.12)


@pytest.mark.parametrize("token_dropout", [True, False])
def test_esm_goes_into_an_exported_folder_and_back(tmp_path, token_dropout):
    """With what its masked tokens do: the scaling of token dropout is part of the model."""
    esm(tmp_path / "esm", token_dropout=token_dropout)
    assert main(["export", str(tmp_path / "esm"), str(tmp_path / "exported")]) == 0
    tokens = torch.tensor([Alphabet().encode("MKTAYIAKQRQISFVKSHFSRQ").tolist()])
    tokens[0, 3:9] = Alphabet.mask
    mask = torch.ones_like(tokens)
    exported = AutoModelForMaskedLM.from_pretrained(tmp_path / "exported").eval()
    with torch.no_grad():
        ours = pp.load(tmp_path / "esm").checkpoint.model(tokens, mask.bool())
        again = pp.load(tmp_path / "exported").checkpoint.model(tokens, mask.bool())
        theirs = exported(tokens, attention_mask=mask).logits
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5)
    torch.testing.assert_close(again, ours, rtol=0, atol=1e-5)
