import pytest
import torch
from torch.nn.functional import conv1d
from torch.testing import assert_close

from protein_performer.model.convolution import ShortConvolution


@pytest.mark.parametrize(("kernel", "causal"), [(5, False), (3, False), (4, True), (2, True)])
def test_it_is_pytorchs_depthwise_convolution_beside_the_identity(kernel, causal):
    torch.manual_seed(0)
    layer = ShortConvolution(6, kernel, causal).double()
    h = torch.randn(2, 11, 6, dtype=torch.float64)
    before = kernel - 1 if causal else kernel // 2
    padded = torch.nn.functional.pad(h.mT, (before, kernel - 1 - before))
    wanted = h + conv1d(padded, layer.weight.T[:, None], groups=6).mT
    assert_close(layer(h, None), wanted, rtol=1e-12, atol=1e-12)


def test_padding_adds_nothing():
    torch.manual_seed(0)
    layer = ShortConvolution(6, 5, causal=False)
    h = torch.randn(1, 9, 6)
    mask = torch.tensor([[False] * 2 + [True] * 5 + [False] * 2])
    assert_close(layer(h, mask)[:, 2:7], layer(h[:, 2:7], None))
    assert not torch.equal(layer(h, None)[:, 2:7], layer(h[:, 2:7], None))


@pytest.mark.parametrize(("kernel", "causal"), [(5, False), (4, True)])
def test_gradients_are_those_of_autograd_to_the_bit(kernel, causal):
    torch.manual_seed(0)
    layer = ShortConvolution(16, kernel, causal)
    h = torch.randn(3, 40, 16, requires_grad=True)
    upstream = torch.randn(3, 40, 16)
    padded = torch.nn.functional.pad(h, (0, 0, layer.before, layer.after))
    wanted = h
    for offset, weight in enumerate(layer.weight):
        wanted = torch.addcmul(wanted, padded[:, offset : offset + 40], weight)
    out = layer(h, None)
    assert torch.equal(out, wanted)
    ours = torch.autograd.grad(out, (h, layer.weight), upstream)
    theirs = torch.autograd.grad(wanted, (h, layer.weight), upstream)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one, other)


def test_wider_weights_widen_the_result():
    layer = ShortConvolution(6, 3, causal=True)
    h = torch.randn(1, 9, 6, dtype=torch.bfloat16, requires_grad=True)
    out = layer(h, None)
    out.sum().backward()
    assert out.dtype == layer.weight.grad.dtype == torch.float32
    assert h.grad.dtype == torch.bfloat16
