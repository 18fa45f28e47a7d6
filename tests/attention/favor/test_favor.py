"""FAVOR+ as a mechanism: the dense formula, its options, its buffers, its dtypes."""

import pytest
import torch
from attention.agreement import DTYPES, SCALES, check, gradients_are_right, padding_everywhere
from attention.favor.dense_layer import POSITIVE, SIGNED, all_at_once, dense, layer, rounding
from oracles import favor as oracles

from protein_performer.attention.favor.favor import Favor
from protein_performer.attention.favor.features import Pairs
from protein_performer.attention.protocol import LayerSpec
from protein_performer.errors import UserError

CAUSAL = pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])


def tensors(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, *shape, generator=generator, dtype=torch.float64).to(dtype)


@CAUSAL
@pytest.mark.parametrize("name", POSITIVE)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", SCALES)
def test_equals_the_dense_formula(name, dtype, scale, causal):
    favor = layer(causal, feature_map=name).to(dtype)
    check(favor, dense(favor), dtype=dtype, scale=scale)


@CAUSAL
@pytest.mark.parametrize("name", SIGNED)
@pytest.mark.parametrize("scale", SCALES)
def test_kernels_of_either_sign_equal_the_dense_formula(name, scale, causal):
    """In float64: their normalisers pass through zero, where float32 has few digits."""
    favor = layer(causal, feature_map=name).double()
    tolerance = rounding(favor)
    check(favor, dense(favor), dtype=torch.float64, scale=scale, tolerance=tolerance)


@CAUSAL
@pytest.mark.parametrize("name", [*POSITIVE, *SIGNED])
@pytest.mark.parametrize("dtype", DTYPES)
def test_without_normalization(name, dtype, causal):
    favor = layer(causal, feature_map=name, normalize=False).to(dtype)
    check(favor, dense(favor), dtype=dtype, scale=1.0)


@CAUSAL
@pytest.mark.parametrize(
    "options",
    [
        {"feature_map": "softmax", "per_head": True},
        {"feature_map": "softmax", "row_norms": "sqrt_d"},
        {"feature_map": "favor++", "per_head": True},
        {"feature_map": "softmax", "projection": "iid"},
        {"feature_map": "softmax", "projection": "simplex"},
        {"feature_map": "relu", "projection": None, "num_features": None},
        {"feature_map": "relu", "epsilon": 0.5, "per_head": True},
        {"feature_map": "relu", "epsilon": 0.5, "normalize": False},
        {"feature_map": "trigonometric", "epsilon": 1.5},
        {"feature_map": "softmax", "epsilon": 0.1},
        {"feature_map": "softmax", "epsilon": 1e-4, "per_head": True},
        {"feature_map": "hyperbolic", "epsilon": 0.5, "normalize": False},
        {"feature_map": "favor++", "epsilon": 0.02},
        {"feature_map": "elu+1", "projection": None, "num_features": None},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_options_equal_the_dense_formula(options, dtype, causal):
    favor = layer(causal, **options).to(dtype)
    check(favor, dense(favor), dtype=dtype, scale=1.0)


@pytest.mark.parametrize("saderf", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_statistics_are_those_of_each_sequence(saderf, dtype):
    """FAVOR++ and SADERF measure tokens only, each row and head apart; constants to gradients."""
    favor = layer(False, feature_map="favor++", spread=None, saderf=saderf).to(dtype)

    def oracle(q, k, v, mask):
        out = torch.zeros_like(v)
        for b, h in torch.cartesian_prod(torch.arange(4), torch.arange(2)).tolist():
            tokens = mask[b].nonzero()[:, 0]
            if not len(tokens):
                continue
            x, y = q[b, h, tokens], k[b, h, tokens]
            if saderf:
                psi = oracles.psi(x, y).detach()
                x, y = x * psi, y / psi
            x, y = oracles.scaled(x), oracles.scaled(y)
            spread = (x[:, None] + y).square().sum(-1).mean().item()
            ratio = 2 * spread / 8
            a = (1 - ratio - ((ratio + 1) ** 2 + 4 * ratio) ** 0.5) / 16
            w = favor.projection.double()
            weights = oracles.optimal(x, w, a) @ oracles.optimal(y, w, a).mT
            weights = weights / weights.sum(-1, keepdim=True)
            out[b, h] = out[b, h].index_add(0, tokens, weights @ v[b, h, tokens])
        return out

    check(favor, oracle, dtype=dtype, scale=1.0)


def test_statistics_of_nothing_are_finite():
    q, k, _ = tensors(2, 1, 5, 4)
    q[0], k[1] = 0, 0
    nothing = torch.zeros(2, 5, dtype=torch.bool)
    balanced = Pairs(q, k, None).balanced()
    assert torch.equal(balanced.q, q)
    assert torch.equal(balanced.k, k)
    assert torch.equal(Pairs(q, k, nothing).spread(), torch.zeros(2, 1))


@CAUSAL
@pytest.mark.parametrize("name", ["softmax", "relu", "trigonometric", "abs"])
def test_gradients_equal_finite_differences(name, causal):
    favor = layer(causal, dim=3, heads=1, feature_map=name, num_features=5).double()
    assert gradients_are_right(favor)


@CAUSAL
def test_second_derivatives_are_refused(causal):
    q, k, v = (x.requires_grad_() for x in tensors(1, 2, 6, 8))
    out = layer(causal)(q, k, v, key_mask=None)
    (grad,) = torch.autograd.grad(out.square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


@CAUSAL
def test_padding_may_hold_anything(causal):
    favor = layer(causal, feature_map="softmax")
    mask = padding_everywhere()
    q, k, v = tensors(4, 2, 37, 8)
    hidden = ~mask[:, None, :, None]
    results = []
    for junk in (0.0, 1e4, torch.nan, torch.inf):
        leaves = [x.masked_fill(hidden, junk).requires_grad_() for x in (q, k, v)]
        out = favor(*leaves, key_mask=mask)
        results.append([out, *torch.autograd.grad(out.square().sum(), leaves)])
    for result in results[1:]:
        for got, expected in zip(result, results[0], strict=True):
            assert torch.equal(got, expected)
    assert results[0][0][3].abs().max() == 0  # a row without tokens
    assert all(x.isfinite().all() for x in results[0])


def test_causal_rows_of_extreme_norm_are_exact():
    """Where every product of features underflows, outputs and gradients still are the formula's."""
    favor = layer(True, feature_map="softmax", num_features=11)
    q, k, v = tensors(2, 2, 37, 8)
    q[0] *= 150
    k[0] *= 150
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    exact = [x.double().requires_grad_() for x in (q, k, v)]

    def log_features(x):
        x = oracles.scaled(x)
        return x @ favor.projection.double().T - oracles.squares(x) / 2

    out = favor(*leaves, key_mask=None)
    expected = oracles.log_attention(log_features(exact[0]), log_features(exact[1]), exact[2])
    # Exponents of 1e5 leave float32 two digits after the point: compare where one key wins.
    assert (out.double() - expected).abs().max() < 0.05
    assert ((out.double() - expected).norm() / expected.norm()) < 5e-3
    assert out[0].abs().amax(-1).min() > 0
    grads = torch.autograd.grad(out.sum(), leaves)
    wanted = torch.autograd.grad(expected.sum(), exact)
    assert ((grads[2].double() - wanted[2]).norm() / wanted[2].norm()) < 5e-3
    assert all(grad.isfinite().all() for grad in grads)
    for grad, want in zip(grads, wanted, strict=True):  # the ordinary row beside it
        assert torch.allclose(grad[1].double(), want[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@CAUSAL
def test_half_precision_inputs_are_worked_on_in_float32(dtype, causal):
    favor = layer(causal, feature_map="softmax")
    q, k, v = tensors(2, 2, 37, 8, dtype=dtype)
    out = favor(q, k, v, key_mask=None)
    assert out.dtype == dtype
    expected = favor(q.float(), k.float(), v.float(), key_mask=None)
    assert torch.equal(out, expected.to(dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(favor(q.float(), k.float(), v.float(), key_mask=None), expected)


def test_features_are_a_function_of_seed_layer_and_count():
    def projection(count, **spec):
        favor = Favor(LayerSpec(2, 8, False, **spec), num_features=20)
        favor.redraw_(7)
        favor.redraw_(count)
        return favor.projection

    first = projection(0, seed=1, layer=2)
    assert torch.equal(
        first, Favor(LayerSpec(2, 8, True, layer=2, seed=1), num_features=20).projection
    )
    torch.manual_seed(99)  # the global generator has no say
    assert torch.equal(first, projection(0, seed=1, layer=2))
    for other in (
        projection(1, seed=1, layer=2),
        projection(0, seed=2, layer=2),
        projection(0, seed=1, layer=3),
    ):
        assert (first - other).abs().min() > 0
    heads = Favor(LayerSpec(2, 8, False), num_features=20, per_head=True).projection
    assert heads.shape == (2, 20, 8)
    assert (heads[0] - heads[1]).abs().min() > 0


def test_calls_never_redraw_and_state_dicts_carry_the_features():
    trained = layer(False, feature_map="softmax")
    trained.redraw_(3)
    q, k, v = tensors(1, 2, 9, 8)
    first = trained(q, k, v, key_mask=None)
    assert torch.equal(first, trained(q, k, v, key_mask=None))
    fresh = layer(False, feature_map="softmax")
    assert not torch.equal(first, fresh(q, k, v, key_mask=None))
    state = trained.state_dict()
    assert set(state) == {"projection", "redraw_count"}
    fresh.load_state_dict(state, strict=True)
    assert fresh.redraw_count == 3
    assert torch.equal(first, fresh(q, k, v, key_mask=None))


@CAUSAL
@pytest.mark.parametrize("name", ["softmax", "relu"])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "at once"])
def test_a_gradient_is_that_of_the_features_of_its_forward_pass(name, causal, compiled):
    favor = layer(causal, feature_map=name)
    attend = torch.compile(favor, backend="aot_eager", dynamic=False) if compiled else favor
    grads = []
    for redraw in (False, True):
        favor.redraw_(0)
        q, k, v = (x.requires_grad_() for x in tensors(1, 2, 9, 8))
        out = attend(q, k, v, key_mask=None)
        if redraw:
            favor.redraw_(1)
        grads.append(torch.autograd.grad(out.sin().sum(), (q, k, v)))
    for before, after in zip(*grads, strict=True):
        assert torch.equal(before, after)


@CAUSAL
@pytest.mark.parametrize("name", ["softmax", "relu"])
def test_attention_matrix_is_what_the_layer_applies(name, causal):
    favor = layer(causal, feature_map=name).double()
    mask = padding_everywhere()
    q, k, v = tensors(4, 2, 37, 8, dtype=torch.float64)
    weights = favor.attention_matrix(q, k, key_mask=mask)
    rows = mask[:, None].expand(4, 2, 37).double()
    assert torch.allclose(weights.sum(-1), rows, rtol=0, atol=1e-12)
    assert torch.allclose(weights @ v, favor(q, k, v, key_mask=mask), rtol=0, atol=1e-12)
    assert (weights >= 0).all()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"feature_map": "rbf"}, "feature_map: expected one of softmax"),
        ({"projection": "hadamard"}, "projection: expected one of null, iid"),
        ({"row_norms": "one"}, "row_norms: expected one of chi"),
        ({"num_features": 0}, "num_features"),
        ({"num_features": None}, "num_features"),
        ({"projection": None}, "num_features"),
        ({"feature_map": "softmax", "projection": None, "num_features": None}, "random direct"),
        ({"projection": None, "num_features": None, "row_norms": "sqrt_d"}, "no rows"),
        ({"projection": None, "num_features": None, "per_head": True}, "all heads are alike"),
        ({"feature_map": "favor++", "row_norms": "sqrt_d"}, "chi norms"),
        ({"epsilon": -1.0}, "from 0 on"),
        ({"spread": 1.0}, "only feature_map=favor"),
        ({"feature_map": "favor++", "spread": -1.0}, "mean square"),
        ({"feature_map": "favor++", "spread": None}, "must not see the future"),
        ({"saderf": True}, "no function of"),
        ({"feature_map": "softmax", "saderf": True}, "must not see the future"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_cannot_be_honoured_is_refused(options, reason):
    with pytest.raises(UserError, match=reason):
        Favor(LayerSpec(2, 8, causal=True), **options)


@pytest.mark.parametrize("at_once", [False, True], ids=["cpu", "at once"])
def test_an_epsilon_of_softmax_features_shows_nothing_of_later_positions(at_once):
    """The floor is of one position alone: the authors' maximum over all keys would show them."""
    favor = layer(True, feature_map="softmax", epsilon=0.1)
    q, k, v = torch.randn(3, 1, 2, 40, 8)
    larger = k.clone()
    larger[:, :, 25:] *= 10
    attend = all_at_once(favor) if at_once else favor
    before, after = (attend(q, keys, v, key_mask=None) for keys in (k, larger))
    assert torch.equal(before[:, :, :25], after[:, :, :25])
    assert not torch.equal(before[:, :, 25:], after[:, :, 25:])


def test_an_epsilon_of_softmax_features_goes_on_from_a_state():
    favor = layer(True, feature_map="softmax", epsilon=0.1).double()
    q, k, v = torch.randn(3, 2, 2, 9, 8, dtype=torch.float64)
    state, outs = favor.init_state(2), []
    for at in range(9):
        out, state = favor.step(*(x[:, :, at : at + 1] for x in (q, k, v)), state)
        outs.append(out)
    whole = favor(q, k, v, key_mask=None)
    torch.testing.assert_close(torch.cat(outs, 2), whole, rtol=1e-12, atol=1e-12)
