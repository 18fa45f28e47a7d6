import math

import pytest
import torch
from torch.testing import assert_close

from protein_performer.attention.softmax import Softmax
from protein_performer.model.config import TrunkConfig
from protein_performer.model.head import TwoLayerHead
from protein_performer.model.transformer import ProteinTransformer

V = 30


def make_model(**options):
    torch.manual_seed(0)
    trunk = TrunkConfig(16, 2, 2, 32, False, **options)
    return ProteinTransformer(V, Softmax, trunk).double()


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def layer_norm(x, norm):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight


@pytest.mark.parametrize("kind", ["tied", "two_layer"])
def test_the_embeddings_weight_is_the_last_layers_before_and_after_loading(kind):
    model = make_model(head=kind)
    other = make_model(head=kind)
    with torch.no_grad():
        model.embedding.weight.add_(1)
    other.load_state_dict(model.state_dict())
    for each in (model, other):
        last = each.head.decoder if kind == "two_layer" else each.head
        assert last.weight is each.embedding.weight
        assert last.bias.shape == (V,)
        assert_close(last(torch.eye(16).double())[:, 3] - last.bias[3], each.embedding.weight[3])
    assert sum(p is model.embedding.weight for p in model.parameters()) == 1


def test_the_two_layer_head_is_esm2s_formula():
    head = make_model(head="two_layer", norm_epsilon=0.1).head
    assert isinstance(head, TwoLayerHead)
    h = torch.randn(5, 16, dtype=torch.float64)
    inner = layer_norm(gelu(h @ head.dense.weight.T + head.dense.bias), head.norm)
    wanted = inner @ head.decoder.weight.T + head.decoder.bias
    assert_close(head(h), wanted, rtol=1e-12, atol=1e-12)


def test_biases_are_where_they_are_asked_for_and_begin_at_zero():
    biased, plain = make_model(bias=True), make_model()
    names = {name for name, _ in biased.named_parameters()}
    added = names - {name for name, _ in plain.named_parameters()}
    parts = ("inputs", "output")
    assert added == {f"blocks.{i}.attention.{part}.bias" for i in (0, 1) for part in parts}
    assert all(not biased.get_parameter(name).any() for name in added)


def test_gelu_is_exact_when_it_is_asked_for():
    exact, approximate = (
        make_model(activation=kind).blocks[0].mlp for kind in ("gelu", "gelu_tanh")
    )
    x = 3 * torch.randn(7, 16, dtype=torch.float64)
    wanted = exact.output(gelu(exact.inputs(x)))
    assert_close(exact(x), wanted, rtol=1e-12, atol=1e-12)
    approximate.load_state_dict(exact.state_dict())
    assert (approximate(x) - wanted).abs().max() > 1e-7


def test_norms_take_their_epsilon():
    model = make_model(norm_epsilon=0.25, head="two_layer")
    norms = [module for module in model.modules() if isinstance(module, torch.nn.LayerNorm)]
    assert len(norms) == 2 * 2 + 1 + 1
    assert {norm.eps for norm in norms} == {0.25}
