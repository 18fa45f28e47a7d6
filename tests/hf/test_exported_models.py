"""Exported folders in transformers and back: the same logits, for every mechanism."""

import json

import pytest
import torch
import transformers
from exports import EVERY, attention_of, export, padded
from tiny import RELU, SOFTMAX, tiny_config, write_checkpoint
from torch.testing import assert_close

import protein_performer as pp
from protein_performer.cli import main
from protein_performer.errors import UserError
from protein_performer.hf.folder_export import export_checkpoint
from protein_performer.inference.checkpoint import load_checkpoint

AUTO = {
    "mlm": transformers.AutoModelForMaskedLM,
    "causal": transformers.AutoModelForCausalLM,
}


def load_pretrained(folder, objective):
    return AUTO[objective].from_pretrained(folder).eval()


@pytest.mark.parametrize(("name", "objective"), EVERY)
def test_logits_are_those_of_the_checkpoint(tmp_path, name, objective):
    checkpoint, folder = export(tmp_path, objective, attention_of(name, objective))
    model = load_pretrained(folder, objective)
    again = load_checkpoint(folder).model
    for side in ("left", "right"):
        tokens, mask = padded(side)
        with torch.no_grad():
            expected = checkpoint.model(tokens, mask.bool())[mask.bool()]
            logits = model(input_ids=tokens, attention_mask=mask).logits[mask.bool()]
            unsaid = model(input_ids=tokens).logits[mask.bool()]
            reloaded = again(tokens, mask.bool())[mask.bool()]
        assert_close(logits, expected, rtol=0, atol=1e-5)
        assert_close(unsaid, expected, rtol=0, atol=1e-5)
        assert_close(reloaded, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "trunk",
    [
        {"head": "tied", "positions": "sinusoidal"},
        {"head": "two_layer", "bias": True, "activation": "gelu"},
        {"positions": "learned", "max_length": 16, "convolution": 3, "residual": "reversible"},
    ],
)
def test_every_trunk_goes_there_and_back(tmp_path, trunk):
    checkpoint, folder = export(tmp_path, "mlm", RELU, **trunk)
    tokens, mask = padded("right")
    model = load_pretrained(folder, "mlm")
    expected = checkpoint.model(tokens, mask.bool())
    assert_close(model(tokens, mask).logits, expected, rtol=0, atol=1e-5)
    assert_close(load_checkpoint(folder).model(tokens, mask.bool()), expected, rtol=0, atol=1e-5)
    tied = trunk.get("head") in ("tied", "two_layer")
    last = getattr(model.network.head, "decoder", model.network.head)
    assert (last.weight is model.network.embedding.weight) is tied


def test_auto_model_gives_hidden_states(tmp_path):
    checkpoint, folder = export(tmp_path, "causal", RELU)
    tokens, mask = padded("left")
    model = transformers.AutoModel.from_pretrained(folder)
    out = model(tokens, mask, output_hidden_states=True)
    expected = checkpoint.model.hidden_layers(tokens, mask.bool(), range(3))
    for got, layer in zip(out.hidden_states, expected, strict=True):
        assert_close(got, layer, rtol=0, atol=1e-5)
    assert_close(out.last_hidden_state, expected[-1], rtol=0, atol=1e-5)
    model.save_pretrained(tmp_path / "trunk")  # whose head a language model draws anew
    headless = load_pretrained(tmp_path / "trunk", "causal")
    assert torch.isfinite(headless(tokens, mask).logits).all()
    with pytest.raises(UserError, match="do not fit"):
        load_checkpoint(tmp_path / "trunk")


def test_what_was_drawn_anew_is_exported_as_it_is(tmp_path):
    config = tiny_config(attention=RELU)
    network = write_checkpoint(tmp_path / "a.ckpt", config)
    network.redraw_(5)
    state = {f"model.{name}": value for name, value in network.state_dict().items()}
    write_checkpoint(tmp_path / "b.ckpt", config, state_dict=state)
    export_checkpoint(load_checkpoint(tmp_path / "b.ckpt"), tmp_path / "out")
    model = load_pretrained(tmp_path / "out", "mlm")
    for ours, theirs in zip(network.mechanisms, model.network.mechanisms, strict=True):
        assert_close(theirs.projection, ours.projection, rtol=0, atol=0)
        assert int(theirs.redraw_count) == 5


def test_the_verb_and_the_other_verbs_take_it(tmp_path, capsys):
    network = write_checkpoint(tmp_path / "best.ckpt", tiny_config(attention=RELU))
    weights = sum(each.numel() for each in network.parameters())
    out = tmp_path / "out"
    assert main(["export", str(tmp_path / "best.ckpt"), str(out)]) == 0
    assert f"{weights:,} weights" in capsys.readouterr().out
    (tmp_path / "a.fasta").write_text(">one\nMKTAYIAK\n")
    words = ["embed", str(out), str(tmp_path / "a.fasta"), str(tmp_path / "e.npz")]
    assert main([*words, "--device", "cpu"]) == 0
    lm, again = pp.load(tmp_path / "best.ckpt"), pp.load(out)
    assert_close(again.embed("MKTAYIAK"), lm.embed("MKTAYIAK"))
    assert again.checkpoint.alphabet == lm.checkpoint.alphabet
    assert again.checkpoint.residue_counts == lm.checkpoint.residue_counts
    assert (again.checkpoint.objective, again.checkpoint.step) == ("mlm", 7)
    assert main(["export", str(out), str(tmp_path / "again")]) == 0  # of an export, too
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()
    assert main(["export", str(out), str(tmp_path / "again")]) == 1
    assert "not empty" in capsys.readouterr().err


def test_the_card_has_the_figures_and_no_paths(tmp_path):
    config = tiny_config(attention=RELU)
    sources = ["/home/someone/mine.fasta", "https://me:secret@host/a.fasta.gz?sig=5e"]
    config["data"]["sources"] = sources
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    write_checkpoint(run / "checkpoints" / "best.ckpt", config)
    (run / "metrics.json").write_text(json.dumps({"test/perplexity": 17.25, "test/accuracy": 0.1}))
    assert main(["export", str(run), str(tmp_path / "out")]) == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| test | perplexity | 17.25 |" in card
    assert "`mine.fasta`, `https://host/a.fasta.gz`" in card
    for each in (tmp_path / "out").iterdir():
        assert b"someone" not in each.read_bytes()
        assert b"secret" not in each.read_bytes()


def test_a_class_for_the_other_direction_is_refused(tmp_path):
    _, masked = export(tmp_path / "mlm", "mlm", SOFTMAX)
    _, causal = export(tmp_path / "causal", "causal", SOFTMAX)
    with pytest.raises(UserError, match="AutoModelForMaskedLM"):
        load_pretrained(masked, "causal")
    with pytest.raises(UserError, match="AutoModelForCausalLM"):
        load_pretrained(causal, "mlm")


@pytest.mark.parametrize(
    "arguments",
    [{"output_attentions": True}, {"inputs_embeds": torch.ones(1, 1, 16)}, {"position_ids": [0]}],
)
def test_what_cannot_be_honoured_is_refused(tmp_path, arguments):
    _, folder = export(tmp_path, "mlm", RELU)
    with pytest.raises(UserError, match=next(iter(arguments))):
        load_pretrained(folder, "mlm")(torch.ones(1, 3, dtype=torch.int64), **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "bert"}, "'bert'"),
        ({"network": None}, "network and training"),
        ({"training": {"format": 99}}, "format 99"),
        ({"training": {"format": 1}}, "description is missing"),
    ],
)
def test_a_folder_that_says_other_things_is_refused(tmp_path, change, message):
    _, folder = export(tmp_path, "mlm", RELU)
    config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=message):
        load_checkpoint(folder)


@pytest.mark.parametrize("target", ["os.system", "protein_performer.errors.UserError"])
def test_a_folder_names_registered_mechanisms_only(tmp_path, target):
    _, folder = export(tmp_path, "mlm", RELU)
    config = json.loads((folder / "config.json").read_text())
    config["network"]["attention"]["_target_"] = target
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="attention mechanism"):
        load_checkpoint(folder)
    with pytest.raises(UserError, match="expected one of Favor"):
        load_pretrained(folder, "mlm")


def test_damaged_weights_are_named(tmp_path):
    _, folder = export(tmp_path, "mlm", RELU)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(UserError, match=r"model\.safetensors: damaged"):
        load_checkpoint(folder)
    weights.unlink()
    with pytest.raises(UserError, match=r"expected model\.safetensors"):
        load_checkpoint(folder)


def test_a_mechanism_of_ones_own_is_not_exported(tmp_path):
    attention = {"_target_": "my_lab.attention.MeanOfPast"}
    config = tiny_config("causal", attention)
    write_checkpoint(tmp_path / "a.ckpt", config, trusted_packages=["my_lab"])
    checkpoint = load_checkpoint(tmp_path / "a.ckpt", trusted_packages=["my_lab"])
    with pytest.raises(UserError, match="cannot be copied"):
        export_checkpoint(checkpoint, tmp_path / "out")
    assert not (tmp_path / "out").exists()
