"""Who takes part: peers on request, and what needs a compiler only where it was built."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
from rich.console import Console

from benchmarks.attention import peers, tables
from benchmarks.attention.contestants import CONTESTANTS
from benchmarks.attention.sizes import QUICK
from benchmarks.attention.targets import Target
from benchmarks.timing import spread

COMPILED = "performer-pytorch compiled"


@pytest.fixture
def built(monkeypatch):
    monkeypatch.setitem(sys.modules, peers.COMPILED_PRODUCT, ModuleType(peers.COMPILED_PRODUCT))


@pytest.fixture
def not_built(monkeypatch):
    monkeypatch.setitem(sys.modules, peers.COMPILED_PRODUCT, None)


def runs(name, with_peers):
    return CONTESTANTS[name].runs("causal", QUICK.middle, QUICK, with_peers)


@pytest.mark.usefixtures("built")
def test_a_compiled_peer_runs_beside_the_fallback_where_it_was_built():
    assert runs(COMPILED, with_peers=True)
    assert runs("performer-pytorch fallback", with_peers=True)
    assert not runs(COMPILED, with_peers=False)
    assert not CONTESTANTS[COMPILED].runs("bidirectional", QUICK.middle, QUICK, True)
    assert not CONTESTANTS[COMPILED].runs("causal", QUICK.long, QUICK, True)


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


def printed(rows):
    console = Console(width=200)
    with console.capture() as capture:
        console.print(tables.target_table(rows))
    return capture.get()


def test_the_table_says_how_to_measure_what_was_not():
    measured = Target("fast", 2, False, "x", spread([3.0]))
    assert "not measured" not in printed([measured])
    text = printed([measured, Target("slow", 2, False, "x", None, needs="a compiler")])
    assert "not measured: what needs a compiler" in text
