import pytest
import torch
from torch import nn
from torch.testing import assert_close

from protein_performer.attention.protocol import LayerSpec
from protein_performer.attention.softmax import Softmax
from protein_performer.errors import UserError
from protein_performer.model.transformer import ProteinTransformer

V = 30


def make_model(
    *, causal=False, positions="rotary", attention=Softmax, dtype=torch.float64, **extra
):
    torch.manual_seed(0)
    options = {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_ff": 48} | extra
    model = ProteinTransformer(V, attention, causal=causal, positions=positions, **options)
    # Larger weights than at the start of training, so that a leak would show.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model.to(dtype).eval()


PLAIN_AND_CONVOLVED = pytest.mark.parametrize("convolution", [None, 5])


def random_tokens(batch, length, seed=1):
    return torch.randint(4, V, (batch, length), generator=torch.Generator().manual_seed(seed))


KINDS = {"rotary": {}, "learned": {"max_length": 64}, "sinusoidal": {}, "none": {}}


@pytest.mark.parametrize("positions", KINDS)
@pytest.mark.parametrize("side", ["left", "right"])
@PLAIN_AND_CONVOLVED
def test_padding_on_either_side_moves_no_logit(positions, side, convolution):
    model = make_model(positions=positions, convolution=convolution, **KINDS[positions])
    tokens = random_tokens(2, 9)
    mask = torch.ones(2, 9, dtype=torch.bool)
    pads, dark = torch.zeros(2, 5, dtype=torch.long), torch.zeros(2, 5, dtype=torch.bool)
    order = (pads, tokens) if side == "left" else (tokens, pads)
    dark_order = (dark, mask) if side == "left" else (mask, dark)
    start = 5 if side == "left" else 0
    padded = model(torch.cat(order, 1), torch.cat(dark_order, 1))
    assert_close(padded[:, start : start + 9], model(tokens), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("positions", ["rotary", "learned", "sinusoidal"])
def test_order_matters_with_positions(positions):
    model = make_model(positions=positions, **KINDS[positions])
    tokens = random_tokens(1, 9)
    assert (model(tokens.flip(1)).flip(1) - model(tokens)).abs().max() > 1e-6


def test_order_is_invisible_without_positions():
    model = make_model(positions="none")
    tokens = random_tokens(1, 9)
    assert_close(model(tokens.flip(1)).flip(1), model(tokens), rtol=1e-12, atol=1e-12)


@PLAIN_AND_CONVOLVED
def test_causal_logits_do_not_see_the_future(convolution):
    model = make_model(causal=True, convolution=convolution)
    tokens = random_tokens(1, 9)
    changed = tokens.clone()
    changed[0, 6] = (changed[0, 6] - 4 + 1) % (V - 4) + 4
    before, after = model(tokens), model(changed)
    assert_close(after[:, :6], before[:, :6], rtol=0, atol=1e-12)
    assert (after[:, 6:] - before[:, 6:]).abs().max() > 1e-6


def test_rotary_positions_are_relative():
    """A shift of all positions changes nothing: scores depend on i - j alone."""
    model = make_model()
    tokens = random_tokens(1, 9)
    shifted = make_model()
    shift = shifted.rotary.forward
    shifted.rotary.forward = lambda positions: shift(positions + 1000)
    assert_close(shifted(tokens), model(tokens), rtol=0, atol=1e-9)


class Recorder(nn.Module):
    """A mechanism that returns its values and notes what it was given."""

    def __init__(self, spec, *, shared=False):
        super().__init__()
        self.spec, self.shared_query_key, self.draws = spec, shared, []

    def forward(self, q, k, v, *, key_mask):
        self.seen = (q, k, v, key_mask)
        return v

    def redraw_(self, count):
        self.draws.append(count)

    def share_(self, first):
        self.first = first


def test_each_layer_is_told_where_it_stands():
    model = make_model(attention=Recorder, causal=True, seed=7)
    specs = [mechanism.spec for mechanism in model.mechanisms]
    assert specs == [LayerSpec(4, 8, True, layer=i, seed=7) for i in range(2)]
    assert model.mechanisms[1].first is model.mechanisms[0]


def test_redraw_reaches_every_mechanism():
    model = make_model(attention=Recorder)
    model.redraw_(3)
    assert [mechanism.draws for mechanism in model.mechanisms] == [[3], [3]]


def test_a_shared_query_key_mechanism_gets_its_queries_as_keys():
    model = make_model(attention=lambda spec: Recorder(spec, shared=True))
    model(random_tokens(2, 5))
    q, k, v, key_mask = model.mechanisms[0].seen
    assert k is q
    assert v.shape == (2, 4, 5, 8)
    assert key_mask is None
    assert model.blocks[0].attention.inputs.out_features == 2 * 32


def test_logits_are_the_head_over_the_hidden_states():
    model = make_model()
    tokens = random_tokens(2, 9)
    hidden = model.hidden(tokens)
    assert hidden.shape == (2, 9, 32)
    assert_close(model.head(hidden), model(tokens), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 5}, "divisible by num_heads"),
        ({"num_heads": 32}, "must be even"),
        ({"positions": "learned"}, "max_length"),
        ({"max_length": 10}, "max_length"),
        ({"convolution": 4}, r"model\.convolution"),
        ({"convolution": 1}, r"model\.convolution"),
        ({"positions": "alibi"}, "expected rotary"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        make_model(**options)


def test_learned_positions_end_with_an_error():
    model = make_model(positions="learned", max_length=8)
    model(random_tokens(1, 8))
    with pytest.raises(UserError, match=r"holds 8 positions, the input has\s+9"):
        model(random_tokens(1, 9))
