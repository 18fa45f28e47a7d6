"""What every mechanism holds to, in both directions: padding, future, batch mates, extremes.

Each test also shows that it could fail: that what it changes would be felt elsewhere.
"""

import pytest
import torch
from attention.mechanisms import (
    BIDIRECTIONAL_ONLY,
    DIM,
    HEADS,
    NAMES,
    ROWS,
    build,
    call,
    distance,
    inputs,
)

from protein_performer.attention.protocol import stepping
from protein_performer.errors import UserError

TOKENS = 150  # more than a chunk and a window, and a multiple of neither
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
DTYPES = pytest.mark.parametrize("dtype", TOLERANCE, ids=["float32", "float64"])
EVERY = pytest.mark.parametrize(
    ("name", "causal"), ROWS, ids=[f"{n}-{'causal' if c else 'both'}" for n, c in ROWS]
)

NO_STATE = ("linformer", "linformer_random", "reformer", "reformer_paper")
STEPPING = [name for name in NAMES if name not in NO_STATE]


def label(name, causal):
    return f"{name}, {'causal' if causal else 'bidirectional'}"


def mixes(name):
    return name != "values"


def padded(x, pads, seed):
    """Three rows: x with pads on the left, x with pads on the right, and padding alone.

    Every other pad is of 50 times a token's norm; the rest look like tokens.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (3, x.shape[1], x.shape[2] + pads, x.shape[3])
    rows = torch.randn(shape, generator=generator, dtype=torch.float64).to(x.dtype)
    rows[:, :, ::2] *= 50
    rows[0, :, pads:] = x[0].detach()
    rows[1, :, : x.shape[2]] = x[0].detach()
    return rows.requires_grad_()


@EVERY
@DTYPES
def test_padding_moves_no_token(name, causal, dtype, measured):
    mechanism = build(name, causal, dtype)
    real = inputs(1, TOKENS, dtype)
    expected = call(mechanism, *real)
    upstream = torch.randn_like(expected)
    expected_grads = torch.autograd.grad(expected, real, upstream, materialize_grads=True)
    for pads in (0, 64, 960):
        rows = [padded(x, pads, seed) for seed, x in enumerate(real)]
        mask = torch.zeros(3, TOKENS + pads, dtype=torch.bool)
        mask[0, pads:] = mask[1, :TOKENS] = True
        if pads == 0:
            mask[2] = False
        out = call(mechanism, *rows, mask)
        assert out[~mask[:, None].expand(out.shape[:-1])].abs().sum() == 0
        weights = torch.randn_like(out)
        weights[0, :, pads:] = weights[1, :, :TOKENS] = upstream[0]
        grads = torch.autograd.grad(out, rows, weights, materialize_grads=True)
        moved = max(
            distance(out[0, :, pads:], expected[0]), distance(out[1, :, :TOKENS], expected[0])
        )
        measured(label(name, causal), f"padding float{str(dtype)[-2:]}", moved)
        assert moved <= TOLERANCE[dtype]
        for grad, expected_grad in zip(grads, expected_grads, strict=True):
            assert grad[~mask[:, None].expand(grad.shape[:-1])].abs().sum() == 0
            assert distance(grad[0, :, pads:], expected_grad[0]) <= 10 * TOLERANCE[dtype]
            assert distance(grad[1, :, :TOKENS], expected_grad[0]) <= 10 * TOLERANCE[dtype]
    if mixes(name) and name not in BIDIRECTIONAL_ONLY:
        unmasked = call(mechanism, *rows)
        assert distance(unmasked[0, :, pads:], expected[0]) > 1e-3


def changed(x, position, factor=1.0, content=True):
    """x with another content at a position, or the same, times a factor."""
    x = x.detach().clone()
    if content:
        x[:, :, position] = torch.randn_like(x[:, :, position])
    x[:, :, position] *= factor
    return x


@pytest.mark.parametrize("name", [name for name in NAMES if name not in BIDIRECTIONAL_ONLY])
@DTYPES
def test_no_position_sees_its_future(name, dtype, measured):
    """Reformer alone sorts positions, by the hash of their direction: see its own tests for what
    may change when a later direction does. Here its query is scaled and its value replaced."""
    mechanism = build(name, causal=True, dtype=dtype)
    q, k, v = inputs(1, TOKENS, dtype)
    position = 70
    before = call(mechanism, q, k, v)
    sorts = getattr(mechanism, "shared_query_key", False)
    torch.manual_seed(1)
    for factor in (1.0, 50.0):
        after = call(
            mechanism,
            changed(q, position, factor if sorts else 1.0, content=not sorts),
            changed(k, position, factor),
            changed(v, position),
        )
        moved = distance(after[:, :, :position], before[:, :, :position])
        measured(label(name, True), f"future float{str(dtype)[-2:]}", moved)
        assert moved <= TOLERANCE[dtype]
        assert distance(after[:, :, position:], before[:, :, position:]) > 1e-3
    past = before[:, :, :position].square().sum()
    grads = torch.autograd.grad(past, (q, k, v), materialize_grads=True)
    for grad in grads:
        assert grad[:, :, position:].abs().max() <= TOLERANCE[dtype]
    assert grads[2][:, :, :position].abs().max() > 1e-3


@pytest.mark.parametrize("name", STEPPING)
@pytest.mark.parametrize("sizes", [[1] * TOKENS, [70, 1, 64, 15]], ids=["ones", "parts"])
@DTYPES
def test_stepping_equals_the_parallel_form(name, sizes, dtype, measured):
    mechanism = stepping(build(name, causal=True, dtype=dtype))
    q, k, v = (x.detach() for x in inputs(2, TOKENS, dtype))
    masks = torch.ones(2, TOKENS, dtype=torch.bool)
    masks[1, :20] = masks[1, 80:90] = False  # a shorter prompt, and padding inside
    for mask in (None, masks):
        state, outs = mechanism.init_state(2, dtype=dtype), []
        parts = mask if mask is None else mask.split(sizes, dim=1)
        for i, part in enumerate(zip(*(x.split(sizes, dim=2) for x in (q, k, v)), strict=True)):
            before = [x.clone() for x in state]
            out, after = mechanism.step(*part, state, key_mask=parts and parts[i])
            assert all(torch.equal(old, new) for old, new in zip(before, state, strict=True))
            assert all(len(x) == 2 for x in after)
            state = after
            outs.append(out)
        whole = call(mechanism, q, k, v, mask)
        moved = distance(torch.cat(outs, dim=2), whole)
        measured(label(name, True), f"stepping float{str(dtype)[-2:]}", moved)
        assert moved <= TOLERANCE[dtype]
    first = mechanism.init_state(2, dtype=dtype)
    late, _ = mechanism.step(*(x[:, :, -1:] for x in (q, k, v)), first)
    if mixes(name):
        assert distance(late, whole[:, :, -1:]) > 1e-2  # without the state it is another output


@pytest.mark.parametrize("name", [name for name in NAMES if name not in STEPPING])
def test_what_keeps_no_state_is_refused_by_name(name):
    mechanism = build(name, causal=name not in BIDIRECTIONAL_ONLY)
    with pytest.raises(UserError, match=type(mechanism).__name__):
        stepping(mechanism)


@pytest.mark.parametrize("name", STEPPING)
def test_bidirectional_layers_keep_no_state(name):
    with pytest.raises(UserError, match="whole sequence"):
        build(name, causal=False).init_state(1)


@pytest.mark.parametrize("name", [name for name in NAMES if mixes(name)])
def test_bidirectional_sees_both_ways(name):
    mechanism = build(name, causal=False)
    q, k, v = inputs(1, TOKENS)
    position = 70
    before = call(mechanism, q, k, v)
    after = call(mechanism, q, k, changed(v, position, 50.0))
    for part in (slice(0, position), slice(position + 1, None)):
        assert distance(after[:, :, part], before[:, :, part]) > 1e-3


@EVERY
def test_batch_mates_change_nothing(name, causal, measured):
    mechanism = build(name, causal)
    lengths = [TOKENS, 97, 40]
    q, k, v = (x.detach() for x in inputs(3, TOKENS))
    mask = torch.arange(TOKENS) < torch.tensor(lengths)[:, None]
    together = call(mechanism, q, k, v, mask)
    reordered = call(mechanism, q.flip(0), k.flip(0), v.flip(0), mask.flip(0)).flip(0)
    for row, length in enumerate(lengths):
        one = slice(row, row + 1), slice(None), slice(length)
        alone = call(mechanism, q[one], k[one], v[one])
        for batched in (together, reordered):
            moved = distance(batched[one], alone)
            measured(label(name, causal), "batch", moved)
            assert moved <= 1e-5
    first, second = together[0, :, :40], together[2, :, :40]
    assert distance(first, second) > 1e-2


@EVERY
@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("norm", [0.0, 30.0, 100.0, 300.0, 1e3])
@pytest.mark.parametrize("length", [1, TOKENS])
def test_extremes_stay_finite(name, causal, norm, zeros, length):
    mechanism = build(name, causal)
    q, k, v = (x.detach() for x in inputs(2, length))
    q, k = (norm * x / x.norm(dim=-1, keepdim=True) for x in (q, k))
    if zeros:  # half of the queries, and the keys from the middle on
        q[:, :, ::2], k[:, :, length // 2 :] = 0, 0
    leaves = [x.requires_grad_() for x in (q, k, v)]
    for mask in (None, torch.tensor([[True], [False]]).expand(2, length)):
        out = call(mechanism, *leaves, mask)
        assert out.isfinite().all()
        assert out[0].abs().max() > 0
        for grad in torch.autograd.grad(out.sum(), leaves, materialize_grads=True):
            assert grad.isfinite().all()


@EVERY
def test_bfloat16_autocast_stays_within_two_percent(name, causal, measured):
    mechanism = build(name, causal)
    leaves = inputs(2, TOKENS)
    mask = torch.arange(TOKENS) < torch.tensor([[TOKENS], [97]])
    expected = call(mechanism, *leaves, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = call(mechanism, *leaves, mask)
    error = ((out - expected).norm() / expected.norm()).item()
    measured(label(name, causal), "bfloat16", error)
    assert error <= 0.02
    for grad in torch.autograd.grad(out.float().sum(), leaves, materialize_grads=True):
        assert grad.isfinite().all()


@EVERY
def test_float16_works(name, causal, measured):
    mechanism = build(name, causal)
    leaves = [x.detach().half().requires_grad_() for x in inputs(1, TOKENS)]
    expected = call(mechanism, *(x.float() for x in leaves))
    out = call(mechanism, *leaves)
    assert out.dtype == torch.float16
    error = ((out - expected).norm() / expected.norm()).item()
    measured(label(name, causal), "float16", error)
    assert error <= 0.02
    for grad in torch.autograd.grad(out.float().sum(), leaves, materialize_grads=True):
        assert grad.isfinite().all()


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_outputs_under_autocast_have_the_dtype_of_v(name, causal, dtype):
    q, k, v = (x.detach().to(dtype) for x in inputs(1, 5))
    mask = torch.tensor([[True, True, True, False, True]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for key_mask in (None, mask):
            assert call(build(name, causal), q, k, v, key_mask).dtype == dtype


@EVERY
def test_shapes_that_do_not_fit_are_refused(name, causal):
    mechanism = build(name, causal)
    q, k, v = (x.detach() for x in inputs(2, 6))
    ones = torch.ones(2, 6, dtype=torch.bool)
    for mask in (ones[:1], ones[:, :5], ones[:, :, None], ones.float()):
        with pytest.raises(UserError, match="key_mask to be bool of shape \\(2, 6\\)"):
            call(mechanism, q, k, v, mask)
    for wrong in (v[:, :, :5], v[:1], v[:, :1], v[0]):
        with pytest.raises(UserError, match="same batch, heads and length"):
            call(mechanism, q, k, wrong)
    if not getattr(mechanism, "shared_query_key", False):
        for wrong in (k[:, :, :5], k[:1], k[:, :1], k[..., :8], k[0]):
            with pytest.raises(UserError, match="q and k of one shape"):
                call(mechanism, q, wrong, v)


@EVERY
def test_nothing_gives_nothing(name, causal):
    mechanism = build(name, causal)
    for shape in ((2, HEADS, 0, DIM), (0, HEADS, 7, DIM)):
        x = torch.zeros(shape, requires_grad=True)
        for mask in (None, torch.ones(shape[0], shape[2], dtype=torch.bool)):
            out = call(mechanism, x, x, x, mask)
            assert out.shape == shape
            out.sum().backward()


@EVERY
def test_a_default_device_draws_the_same_numbers(name, causal):
    with torch.device("meta"):
        elsewhere = build(name, causal)
        if hasattr(elsewhere, "redraw_"):
            elsewhere.redraw_(2)
    here, redrawn = build(name, causal), build(name, causal)
    for one, other in zip(elsewhere.buffers(), here.buffers(), strict=True):
        assert one.is_meta
        assert one.shape == other.shape
    if hasattr(here, "redraw_"):
        here.redraw_(2)
        with torch.device("meta"):
            redrawn.redraw_(2)
    for one, other in zip(redrawn.buffers(), here.buffers(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", sorted(BIDIRECTIONAL_ONLY))
def test_causal_is_refused_with_the_reason(name, measured):
    with pytest.raises(UserError, match="no causal form"):
        build(name, causal=True)
    measured(label(name, True), "future float32", "refused")


@EVERY
def test_evaluation_repeats_to_the_bit_and_redraws_are_a_function_of_their_count(name, causal):
    mechanism, leaves = build(name, causal), inputs(1, TOKENS)
    first = call(mechanism, *leaves)
    assert torch.equal(call(mechanism, *leaves), first)
    if not hasattr(mechanism, "redraw_"):
        assert not list(mechanism.buffers())
        return
    mechanism.redraw_(3)
    third = {key: value.clone() for key, value in mechanism.state_dict().items()}
    mechanism.redraw_(0)
    assert torch.equal(call(mechanism, *leaves), first)
    fresh = build(name, causal)
    fresh.load_state_dict(third, strict=True)
    mechanism.redraw_(3)
    assert torch.equal(call(fresh, *leaves), call(mechanism, *leaves))
    assert any(
        not torch.equal(value, build(name, causal).state_dict()[key])
        for key, value in third.items()
    )
