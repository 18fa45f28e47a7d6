"""A causal model token by token: equal to the whole sequence at once."""

import pytest
import torch
from my_lab.attention import MeanOfPast
from tiny import RELU, SOFTMAX, tiny_config, tiny_network

from protein_performer.alphabet import Alphabet
from protein_performer.attention.linformer import Linformer
from protein_performer.attention.reformer.reformer import Reformer
from protein_performer.errors import UserError
from protein_performer.model.build import build_model
from protein_performer.model.config import ModelConfig, TrunkConfig
from protein_performer.model.transformer import ProteinTransformer

LENGTH = 40
FAVOR = RELU | {"feature_map": "softmax"}
WINDOW = {"_target_": "protein_performer.attention.sliding_window.SlidingWindow", "window": 3}
TRUNKS = {
    "plain": {},
    "convolution": {"convolution": 4},
    "learned": {"positions": "learned", "max_length": LENGTH},
    "reversible": {"residual": "reversible", "convolution": 2},
    "ESM-2": {"bias": True, "activation": "gelu", "head": "two_layer"},
}


def make_model(attention, trunk="plain", dtype=torch.float64):
    return tiny_network(tiny_config("causal", attention, **TRUNKS[trunk])).to(dtype)


def make_tokens(batch=2):
    return torch.randint(4, 30, (batch, LENGTH), generator=torch.Generator().manual_seed(0))


def tensors(state):
    return [x for block in state.blocks for x in (block.convolution, *block.attention)]


def step_through(model, tokens, sizes, mask=None):
    state, logits = model.init_state(len(tokens)), []
    for part in torch.arange(LENGTH).split(sizes):
        out, state = model.step(tokens[:, part], state, None if mask is None else mask[:, part])
        logits.append(out)
    return torch.cat(logits, 1), state


@pytest.mark.parametrize("attention", [SOFTMAX, FAVOR, RELU, WINDOW])
@pytest.mark.parametrize("trunk", TRUNKS)
@torch.inference_mode()
def test_steps_equal_the_whole(attention, trunk):
    model, tokens = make_model(attention, trunk), make_tokens()
    logits, state = step_through(model, tokens, [7, 1, 1, 30, 1])
    torch.testing.assert_close(logits, model(tokens), rtol=1e-9, atol=1e-9)
    assert state.lengths.tolist() == [LENGTH, LENGTH]


@pytest.mark.parametrize("attention", [SOFTMAX, FAVOR, RELU])
@torch.inference_mode()
def test_single_steps_in_float32(attention):
    """On weights as training draws them: larger ones amplify what processors round differently."""
    config = ModelConfig.from_plain(tiny_config("causal", attention, convolution=4)["model"])
    torch.manual_seed(0)
    model, tokens = build_model(config, len(Alphabet())).eval(), make_tokens()
    logits, _ = step_through(model, tokens, [1] * LENGTH)
    whole = model(tokens)
    assert (logits - whole).abs().max() <= 1e-5 * whole.abs().max()


@pytest.mark.parametrize("attention", [SOFTMAX, FAVOR, WINDOW])
@pytest.mark.parametrize("trunk", ["convolution", "learned"])
@torch.inference_mode()
def test_padding_anywhere_leaves_a_rows_state_as_it_is(attention, trunk):
    model, tokens = make_model(attention, trunk), make_tokens()
    mask = torch.ones(2, LENGTH, dtype=torch.bool)
    mask[0, :9] = mask[0, 20] = mask[1, 30:] = mask[1, 3:5] = False
    logits, state = step_through(model, tokens, [12, 1, 1, 26], mask)
    assert state.lengths.tolist() == mask.sum(1).tolist()
    for row in (0, 1):
        wanted = model(tokens[row, mask[row]][None])[0]
        torch.testing.assert_close(logits[row, mask[row]], wanted, rtol=1e-9, atol=1e-9)


@torch.inference_mode()
def test_a_performers_state_does_not_grow_and_is_not_changed():
    model, tokens = make_model(FAVOR, "convolution"), make_tokens()
    _, state = model.step(tokens[:, :5], model.init_state(2))
    before = [x.clone() for x in tensors(state)]
    first, later = model.step(tokens[:, 5:30], state)
    again, _ = model.step(tokens[:, 5:30], state)
    assert torch.equal(first, again)
    for old, unchanged, new in zip(before, tensors(state), tensors(later), strict=True):
        assert torch.equal(old, unchanged)
        assert old.shape == new.shape


def test_the_table_of_learned_positions_ends_for_steps_too():
    model, tokens = make_model(SOFTMAX, "learned"), make_tokens()
    _, state = step_through(model, tokens, [LENGTH])
    with pytest.raises(UserError, match=f"holds {LENGTH} positions, the input has {LENGTH + 1}"):
        model.step(tokens[:, :1], state)


@pytest.mark.parametrize("mechanism", [MeanOfPast, lambda spec: Reformer(spec, chunk=4)])
def test_mechanisms_without_a_state_are_refused_by_name(mechanism):
    model = ProteinTransformer(30, mechanism, TrunkConfig(16, 2, 2, 32, True))
    with pytest.raises(UserError, match=r"^(MeanOfPast|Reformer) cannot go on"):
        model.init_state(1)


def test_bidirectional_models_are_refused():
    with pytest.raises(UserError, match="bidirectional"):
        tiny_network(tiny_config("mlm")).init_state(1)
    linformer = ProteinTransformer(
        30, lambda spec: Linformer(spec, max_length=9), TrunkConfig(16, 1, 2, 32, False)
    )
    with pytest.raises(UserError, match="Linformer"):
        linformer.init_state(1)
