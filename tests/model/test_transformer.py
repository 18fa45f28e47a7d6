import pytest
import torch
from pytorch_lightning.plugins.precision import HalfPrecision
from torch import nn
from torch.testing import assert_close

from protein_performer.attention.protocol import LayerSpec
from protein_performer.attention.softmax import Softmax
from protein_performer.errors import UserError
from protein_performer.model.config import TrunkConfig
from protein_performer.model.transformer import ProteinTransformer

V = 30


def make_model(
    *, causal=False, positions="rotary", attention=Softmax, dtype=torch.float64, **extra
):
    torch.manual_seed(0)
    options = {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_ff": 48} | extra
    trunk = TrunkConfig(causal=causal, positions=positions, **options)
    model = ProteinTransformer(V, attention, trunk)
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
        ({"positions": "alibi"}, "expected one of rotary"),
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


def test_the_table_of_learned_positions_counts_tokens_not_padding():
    model = make_model(positions="learned", max_length=8)
    tokens = random_tokens(1, 12)
    mask = torch.arange(12)[None] >= 4
    assert_close(model(tokens, mask)[:, 4:], model(tokens[:, 4:]), rtol=1e-12, atol=1e-12)


@PLAIN_AND_CONVOLVED
@pytest.mark.parametrize("causal", [False, True])
def test_padding_inside_a_row_is_as_if_it_were_cut_out(convolution, causal):
    model = make_model(causal=causal, convolution=convolution)
    tokens = random_tokens(2, 12)
    mask = torch.ones(2, 12, dtype=torch.bool)
    mask[0, 4:7] = mask[1, :2] = mask[1, 9] = False
    padded = model(tokens, mask)
    assert padded.isfinite().all()
    for row in (0, 1):
        alone = model(tokens[row, mask[row]][None])[0]
        assert_close(padded[row, mask[row]], alone, rtol=1e-12, atol=1e-12)
    (last,) = model.hidden_layers(tokens, mask, [-1])
    assert_close(last[mask], model.hidden(tokens, mask)[mask], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("positions", ["rotary", "sinusoidal"])
def test_positions_stay_exact_in_a_model_of_bfloat16(positions):
    """In bfloat16 frequencies, positions beyond 256 run together: 0.3 of the angles' range.

    As `precision=bf16-true` casts it, and calls it, with bfloat16 for the default dtype.
    """
    exact = make_model(positions=positions, dtype=torch.float32)
    precision = HalfPrecision("bf16-true")
    with precision.module_init_context():
        cast = make_model(positions=positions, dtype=torch.float32)
    cast = precision.convert_module(cast)
    where = torch.arange(2000)[None]
    name = "rotary" if positions == "rotary" else "added_positions"
    wanted = getattr(exact, name)(where)
    with precision.forward_context():
        got = getattr(cast, name)(where)
        assert cast(random_tokens(2, 9)).dtype == torch.bfloat16
    for a, b in zip(wanted, got, strict=True):
        assert torch.equal(a, b)
    assert getattr(cast.float(), name).frequencies.dtype == torch.float32
