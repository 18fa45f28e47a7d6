"""The libraries that one would otherwise use: the extra `[peers]`, and one that needs a compiler.

Shapes: B batch, H heads, L positions, D head width, M features.
"""

import contextlib
import importlib
import io
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from protein_performer.errors import UserError

LIBRARIES = ("performer_pytorch", "reformer_pytorch", "linformer")
COMPILED_PRODUCT = "fast_transformers.causal_product"  # EPFL's; docs/benchmark.md builds it


def require_peers() -> None:
    """Raises UserError if one of them cannot be imported."""
    for name in LIBRARIES:
        try:
            _import(name)
        except ImportError as error:
            raise UserError(
                f"--peers: expected {name} to be installed, got: {error}."
                ' Install the extra: pip install "protein-performer[peers]"'
            ) from error


def is_importable(module: str) -> bool:
    """Whether a module is there and loads."""
    try:
        _import(module)
    except ImportError:
        return False
    return True


def performer_pytorch(
    kernel: str, *, causal: bool, head_dim: int, num_features: int, compiled: bool = False
) -> nn.Module:
    """Its FastAttention, (B, H, L, D) q, k, v to (B, H, L, D).

    Args:
        kernel: softmax or relu.
        causal: no position sees a later one.
        head_dim: D.
        num_features: M.
        compiled: causal sums by `COMPILED_PRODUCT`; else by the library's fallback without it.
    """
    library = _import("performer_pytorch")
    # It prints that it found no extension.
    with contextlib.redirect_stdout(io.StringIO()):
        module: nn.Module = library.FastAttention(
            head_dim, num_features, causal=causal, generalized_attention=kernel == "relu"
        )
    if causal:  # left alone, the library looks for the product's CUDA module, also on a CPU
        functions = _import("performer_pytorch.performer_pytorch")
        name = "causal_linear_attention" if compiled else "causal_linear_attention_noncuda"
        module.causal_linear_fn = getattr(functions, name)
    return module


def reformer_pytorch(
    *, causal: bool, chunk: int, rounds: int
) -> Callable[[Tensor, Tensor], Tensor]:
    """Its LSHAttention, (1, H, L, D) shared queries and keys, and values, to (H, L, D)."""
    module = _import("reformer_pytorch").LSHAttention(
        bucket_size=chunk, n_hashes=rounds, causal=causal
    )

    def attend(qk: Tensor, v: Tensor) -> Tensor:
        out: Tensor = module(qk[0], v[0])[0]
        return out

    return attend


def linformer(*, width: int, length: int, num_keys: int, heads: int) -> nn.Module:
    """Its LinformerSelfAttention, (B, L, H D) to (B, L, H D), projections included."""
    module: nn.Module = _import("linformer").LinformerSelfAttention(
        width, length, k=num_keys, heads=heads
    )
    return module


def _import(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they use what Python and PyTorch have deprecated
        return importlib.import_module(name)


@torch.no_grad()
def use_projection(module: nn.Module, projection: Tensor) -> nn.Module:
    """performer-pytorch with our (M, D) features."""
    module.get_buffer("projection_matrix").copy_(projection)
    return module
