import pytest
import torch
from tiny import RELU, SOFTMAX, tiny_config

from protein_performer.errors import UserError
from protein_performer.model.build import build_model
from protein_performer.model.compilation import compile_blocks
from protein_performer.model.config import ModelConfig

# PyTorch looks at a block's input as it looks at a parameter, and warns of itself.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")

MODELS = {"favor": RELU, "exact": SOFTMAX}


def model(name, **options):
    plain = tiny_config(attention=MODELS[name])["model"] | options
    torch.manual_seed(0)
    return build_model(ModelConfig.from_plain(plain), 30)


def loss(network, length):
    torch.manual_seed(length)
    tokens = torch.randint(4, 24, (2, length))
    mask = torch.ones(2, length, dtype=torch.bool)
    mask[0, length - 3 :] = False
    logits = network(tokens, mask)[mask]
    return torch.nn.functional.cross_entropy(logits, tokens[mask])


@pytest.mark.parametrize(("name", "causal"), [("favor", False), ("favor", True), ("exact", False)])
def test_compiled_blocks_give_the_same_loss_and_gradients(name, causal):
    plain, compiled = model(name, causal=causal), model(name, causal=causal)
    compile_blocks(compiled, backend="aot_eager")
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    for length in (20, 33):
        expected, got = loss(plain, length), loss(compiled, length)
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
        expected.backward()
        got.backward()
    for p, q in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad, rtol=1e-4, atol=1e-5)


def test_blocks_are_compiled_once_for_all_lengths():
    torch._dynamo.reset()
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    network = model("exact")
    compile_blocks(network, backend=backend)
    for length in (20, 33, 47):
        loss(network, length)
    assert len(graphs) == 1


def test_without_a_compiler_the_cure_is_named(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"C\+\+ compiler.*model\.compile=false"):
        compile_blocks(model("favor"))


def test_a_reversible_trunk_is_refused():
    with pytest.raises(UserError, match="residual=plain, got reversible"):
        compile_blocks(model("favor", residual="reversible"), backend="aot_eager")
