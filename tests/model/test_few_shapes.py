"""Rows in bfloat16 on a CPU come in few lengths: a kernel is compiled for each."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from protein_performer.alphabet import Alphabet
from protein_performer.attention.favor.favor import Favor
from protein_performer.attention.linformer import Linformer
from protein_performer.attention.softmax import Softmax
from protein_performer.model.config import TrunkConfig
from protein_performer.model.row_layout import LENGTHS
from protein_performer.model.transformer import ProteinTransformer


def trunk(make=Softmax, **options):
    torch.manual_seed(0)
    return ProteinTransformer(len(Alphabet()), make, TrunkConfig(16, 2, 2, 32, False, **options))


def tokens_of(length, rows=2):
    generator = torch.Generator().manual_seed(length)
    return torch.randint(5, len(Alphabet()), (rows, length), generator=generator)


class Shapes(TorchDispatchMode):
    """Collects the shapes of products."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
            self.seen.add(tuple(tuple(x.shape) for x in args if isinstance(x, torch.Tensor)))
        return function(*args, **(kwargs or {}))


def shapes(model, lengths, *, bfloat16):
    with Shapes() as shapes, torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        for length in lengths:
            logits = model(tokens_of(length))
            assert logits.shape == (2, length, len(Alphabet()))
    return shapes.seen


def test_lengths_up_to_a_multiple_share_their_products():
    model = trunk()
    one = shapes(model, [LENGTHS], bfloat16=True)
    assert shapes(model, [LENGTHS - 9, LENGTHS - 3, LENGTHS], bfloat16=True) == one
    assert len(shapes(model, [LENGTHS, LENGTHS + 1], bfloat16=True)) == 2 * len(one)


def test_in_float32_nothing_is_padded():
    seen = shapes(trunk(), [LENGTHS - 9], bfloat16=False)
    assert {each[-2][0] for each in seen} == {2 * (LENGTHS - 9)}


@pytest.mark.parametrize("make", [Softmax, Favor])
def test_outputs_are_those_of_rows_padded_by_hand(make):
    """And of every layer, with padding on the left, too."""
    model, length = trunk(make), LENGTHS - 7
    tokens, mask = tokens_of(length), torch.ones(2, length, dtype=torch.bool)
    mask[1, :5] = False
    by_hand = torch.nn.functional.pad(tokens, (0, 7)), torch.nn.functional.pad(mask, (0, 7))
    with torch.autocast("cpu", torch.bfloat16):
        got = model(tokens, mask), *model.hidden_layers(tokens, mask, (0, 1, 2))
        wanted = model(*by_hand), *model.hidden_layers(*by_hand, (0, 1, 2))
    for one, other in zip(got, wanted, strict=True):
        assert one.shape[1] == length
        assert torch.equal(one[mask], other[:, :length][mask])


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(lambda: trunk(positions="learned", max_length=40), id="learned positions"),
        pytest.param(
            lambda: trunk(lambda spec: Linformer(spec, max_length=40, num_keys=4)), id="Linformer"
        ),
    ],
)
def test_a_model_with_a_longest_row_takes_rows_up_to_it(model):
    shapes(model(), [40, 33], bfloat16=True)
