import math

import pytest
import torch
from attention.agreement import DTYPES, SCALES, check, gradients_are_right
from oracles.mechanisms import linformer_attention

from protein_performer.attention.linformer import Linformer, RandomLinformer
from protein_performer.attention.protocol import LayerSpec
from protein_performer.errors import UserError

SPEC = LayerSpec(2, 8, causal=False)
SHARINGS = ["none", "headwise", "key_value", "layerwise"]


def per_head(projection):
    """(H or 1, N, K) of ours -> (H, K, N) of the paper."""
    return projection.mT.expand(2, -1, -1)


@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", SCALES)
def test_learned_equals_the_formula(sharing, dtype, scale):
    def oracle(q, k, v, mask, *projections):
        e, f = projections[0], projections[-1]
        return linformer_attention(q, k, v, mask, per_head(e), per_head(f))

    torch.manual_seed(1)
    mechanism = Linformer(SPEC, max_length=41, num_keys=5, sharing=sharing).to(dtype)
    parameters = tuple(mechanism.parameters())
    check(mechanism, oracle, dtype=dtype, scale=scale, parameters=parameters)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("delta", [1e-6, 0.5])
def test_random_equals_the_formula(dtype, scale, delta):
    mechanism = RandomLinformer(SPEC, max_length=41, num_keys=5, delta=delta).to(dtype)

    def oracle(q, k, v, mask):
        r = per_head(mechanism.projection).double()
        return linformer_attention(q, k, v, mask, delta * r, math.exp(-delta) * r)

    check(mechanism, oracle, dtype=dtype, scale=scale)


def test_random_projections_have_the_theorems_variance():
    num_keys, entries = 600, 600 * 1026
    projection = RandomLinformer(SPEC, max_length=1026, num_keys=num_keys).projection
    variance = projection.double().square().mean() * num_keys
    assert abs(variance - 1) < 5 * math.sqrt(2 / entries)
    assert abs(projection.double().mean()) < 5 / math.sqrt(entries * num_keys)


@pytest.mark.parametrize("sharing", SHARINGS)
def test_gradients_equal_finite_differences(sharing):
    torch.manual_seed(1)
    mechanism = Linformer(LayerSpec(1, 3, False), max_length=9, num_keys=4, sharing=sharing)
    assert gradients_are_right(mechanism.double())


def test_parameters_follow_the_sharing():
    def numbers(sharing):
        layers = [Linformer(SPEC, max_length=10, num_keys=4, sharing=sharing) for _ in range(3)]
        for layer in layers[1:]:
            layer.share_(layers[0])
        return sum(p.numel() for p in torch.nn.ModuleList(layers).parameters())

    assert [numbers(sharing) for sharing in SHARINGS] == [480, 240, 120, 40]


def test_layerwise_layers_learn_together_and_others_apart():
    for sharing, together in (("layerwise", True), ("key_value", False)):
        first, second = (Linformer(SPEC, max_length=10, num_keys=4, sharing=sharing) for _ in "ab")
        second.share_(first)
        assert (second.key_projection is first.key_projection) is together


def test_rows_count_tokens_and_not_places():
    """More places than columns are welcome as long as they are padding."""
    q, k, v = torch.randn(3, 1, 2, 12, 8)
    mechanism = Linformer(SPEC, max_length=10, num_keys=4)
    mask = torch.ones(1, 12, dtype=torch.bool)
    mask[:, :2] = False
    short = mechanism(q[:, :, 2:], k[:, :, 2:], v[:, :, 2:], key_mask=None)
    torch.testing.assert_close(mechanism(q, k, v, key_mask=mask)[:, :, 2:], short)
    for too_many in (None, torch.ones(1, 12, dtype=torch.bool)):
        with pytest.raises(UserError, match=r"at most attention\.max_length=10 tokens, got 12"):
            mechanism(q, k, v, key_mask=too_many)


@pytest.mark.parametrize("kind", [Linformer, RandomLinformer])
def test_what_it_cannot_do_is_refused(kind):
    with pytest.raises(UserError, match="no causal form"):
        kind(LayerSpec(2, 8, causal=True), max_length=10)
    with pytest.raises(UserError, match="at least 1"):
        kind(SPEC, max_length=0)
    with pytest.raises(UserError, match="sharing to be none, headwise"):
        Linformer(SPEC, max_length=10, sharing="heads")
