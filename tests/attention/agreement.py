"""A mechanism against its dense oracle: outputs and every gradient, at odd sizes, with padding."""

import torch
from attention.mechanisms import call

BATCH, LENGTH = 4, 37
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
DTYPES = list(TOLERANCE)
SCALES = [0.1, 1.0, 3.0]


def padding_everywhere():
    """(4, 37) bool: none, on the left, on the right and inside, everywhere."""
    mask = torch.ones(BATCH, LENGTH, dtype=torch.bool)
    mask[1, :9] = mask[2, 20:] = mask[2, 5] = mask[3] = False
    return mask


def check(mechanism, oracle, *, dtype, scale, heads=2, dim=8, parameters=(), tolerance=None):
    """Fail unless mechanism(q, k, v, mask) and oracle(q, k, v, mask, *parameters) agree.

    The oracle works in float64 from the numbers that the mechanism saw. Errors are relative to the
    largest entry of what is compared; parameters are leaves of the mechanism. tolerance(q, k, mask)
    replaces the one of the dtype where that cannot be kept on all processors.
    """
    torch.manual_seed(7)
    drawn = torch.randn(3, BATCH, heads, LENGTH, dim, dtype=torch.float64)
    q, k, v = drawn.to(dtype) * torch.tensor([scale, scale, 1.0], dtype=dtype).view(3, 1, 1, 1, 1)
    if getattr(mechanism, "shared_query_key", False):
        k = q
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    exact = [x.detach().double().requires_grad_() for x in (*leaves, *parameters)]
    mask = padding_everywhere()
    out = call(mechanism, *leaves, mask)
    expected = oracle(*exact[:3], mask, *exact[3:])
    upstream = torch.randn_like(expected)
    grads = torch.autograd.grad(
        out, (*leaves, *parameters), upstream.to(dtype), materialize_grads=True
    )
    expected_grads = torch.autograd.grad(
        expected, exact, upstream.to(dtype).double(), materialize_grads=True
    )
    assert out.dtype == dtype
    allowed = TOLERANCE[dtype] if tolerance is None else tolerance(*exact[:2], mask)
    for got, wanted in zip((out, *grads), (expected, *expected_grads), strict=True):
        largest = wanted.abs().max().clamp(min=1e-30)
        assert (got.double() - wanted).abs().max() <= allowed * largest


def gradients_are_right(mechanism, heads=1, length=7, dim=3):
    """torch's own check against finite differences, with padding."""
    torch.manual_seed(3)
    mask = torch.ones(2, length, dtype=torch.bool)
    mask[1, -2:] = False
    leaves = [
        torch.randn(2, heads, length, dim, dtype=torch.float64, requires_grad=True)
        for _ in range(3)
    ]
    return torch.autograd.gradcheck(lambda q, k, v: call(mechanism, q, k, v, mask), leaves)
