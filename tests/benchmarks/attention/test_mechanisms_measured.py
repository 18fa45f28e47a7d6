"""Who takes part: peers on request, and what needs a compiler only where it was built."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from benchmarks.attention import peers
from benchmarks.attention.mechanisms import MECHANISMS
from benchmarks.attention.sizes import QUICK

COMPILED = "performer-pytorch compiled"


@pytest.fixture
def built(monkeypatch):
    monkeypatch.setitem(sys.modules, peers.COMPILED_PRODUCT, ModuleType(peers.COMPILED_PRODUCT))


@pytest.fixture
def not_built(monkeypatch):
    monkeypatch.setitem(sys.modules, peers.COMPILED_PRODUCT, None)


def runs(name, with_peers):
    return MECHANISMS[name].runs("causal", QUICK.middle, QUICK, with_peers)


@pytest.mark.usefixtures("built")
def test_a_compiled_peer_runs_beside_the_fallback_where_it_was_built():
    assert runs(COMPILED, with_peers=True)
    assert runs("performer-pytorch fallback", with_peers=True)
    assert not runs(COMPILED, with_peers=False)
    assert not MECHANISMS[COMPILED].runs("bidirectional", QUICK.middle, QUICK, True)
    assert not MECHANISMS[COMPILED].runs("causal", QUICK.long, QUICK, True)


@pytest.mark.usefixtures("not_built")
def test_a_compiled_peer_that_was_not_built_is_left_out_alone():
    assert not runs(COMPILED, with_peers=True)
    assert runs("performer-pytorch fallback", with_peers=True)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_causal_product_is_chosen_by_us_not_by_what_is_installed(compiled, monkeypatch):
    def attention(head_dim, num_features, *, causal, generalized_attention):
        return SimpleNamespace(causal_linear_fn="what the library found")

    library = ModuleType("performer_pytorch")
    library.FastAttention = attention
    functions = ModuleType("performer_pytorch.performer_pytorch")
    functions.causal_linear_attention = "compiled"
    functions.causal_linear_attention_noncuda = "fallback"
    for module in (library, functions):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    module = peers.performer_pytorch(
        "softmax", causal=True, head_dim=4, num_features=8, compiled=compiled
    )
    assert module.causal_linear_fn == ("compiled" if compiled else "fallback")


@pytest.mark.parametrize("name", [name for name in MECHANISMS if name.endswith(", plain")])
@pytest.mark.parametrize("causal", [False, True])
def test_the_plain_form_computes_what_the_schedule_computes(name, causal):
    """Its row would justify nothing if it were about other sums."""
    torch.manual_seed(1)
    q, k, v = torch.randn(3, 1, QUICK.heads, QUICK.long, QUICK.head_dim)
    rival = MECHANISMS[name].rival_of
    plain, schedule = (MECHANISMS[each].build(causal, QUICK.long, QUICK) for each in (name, rival))
    assert_close(plain(q, k, v), schedule(q, k, v), rtol=1e-4, atol=1e-5)
