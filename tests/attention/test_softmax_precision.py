"""Which of PyTorch's kernels exact attention takes, and in which precision."""

import pytest
import torch
from oracles.mechanisms import softmax_attention
from torch.utils._python_dispatch import TorchDispatchMode

from protein_performer.attention import softmax
from protein_performer.attention.protocol import LayerSpec
from protein_performer.attention.softmax import Softmax


class AttentionCalls(TorchDispatchMode):
    """Collects (kernel, dtype of its queries) of everything that computes attention."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if "attention" in function.__name__:
            # The backward's first argument is the upstream gradient, in the kernel's dtype too.
            self.seen.append((function.__name__.partition(".")[0], args[0].dtype))
        return function(*args, **(kwargs or {}))


def qkv(head_dim, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(3, 2, 2, 40, head_dim, generator=generator)
    return [x.to(dtype).requires_grad_() for x in drawn]


def mask_of(kind):
    mask = torch.ones(2, 40, dtype=torch.bool)
    mask[0, 33:] = False
    return mask if kind == "padding" else None


FUSED = "_scaled_dot_product_flash_attention_for_cpu"


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("padding", ["padding", "no padding"])
@pytest.mark.parametrize(
    ("tiles", "head_dim", "autocast", "expected"),
    [
        (False, 64, torch.bfloat16, torch.float32),
        (True, 32, torch.bfloat16, torch.float32),
        (True, 64, torch.bfloat16, torch.bfloat16),
        (True, 64, torch.float16, torch.float32),
        (True, 64, None, torch.float32),
    ],
)
def test_the_fused_kernel_is_taken_in_the_faster_precision(
    monkeypatch, causal, padding, tiles, head_dim, autocast, expected
):
    monkeypatch.setattr(softmax, "has_bfloat16_tiles", lambda device: tiles)
    layer = Softmax(LayerSpec(2, head_dim, causal))
    q, k, v = qkv(head_dim)
    with (
        AttentionCalls() as calls,
        torch.autocast("cpu", dtype=autocast, enabled=autocast is not None),
    ):
        out = layer(q, k, v, key_mask=mask_of(padding))
        out.sum().backward()
    assert out.dtype == torch.float32
    assert calls.seen == [(FUSED, expected), (FUSED + "_backward", expected)]


@pytest.mark.parametrize("tiles", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_inputs_keep_their_dtype_and_the_formula(monkeypatch, tiles, dtype):
    monkeypatch.setattr(softmax, "has_bfloat16_tiles", lambda device: tiles)
    q, k, v = qkv(64, dtype)
    mask = mask_of("padding")
    out = Softmax(LayerSpec(2, 64, causal=True))(q, k, v, key_mask=mask)
    assert out.dtype == dtype
    wanted = softmax_attention(q.double(), k.double(), v.double(), mask, True)
    error = (out.double() - wanted).norm() / wanted.norm()
    assert error < {torch.bfloat16: 5e-3, torch.float16: 1e-3}[dtype]


def test_autocast_leaves_float64_alone():
    layer = Softmax(LayerSpec(2, 64, causal=True))
    with AttentionCalls() as calls, torch.autocast("cpu", dtype=torch.bfloat16):
        layer(*qkv(64, torch.float64), key_mask=None)
    assert calls.seen == [(FUSED, torch.float64)]
