"""What 16-bit products are worth on a device, known from the processor's instructions.

By flags and not by a timing: two runs of one config on one machine compute the same.
"""

import os

import torch

# PyTorch has these tests from 2.4 on, and no public form of them before 2.10.
from torch.cpu import _is_amx_tile_supported, _is_avx512_bf16_supported

# On a CPU PyTorch has oneDNN compile a kernel for each shape of bfloat16 operands, in milliseconds,
# and keep so many. 1,024, its default, is fewer than the shapes of one epoch. It reads this once,
# before its first product.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8192")


def multiplies_bfloat16(device: torch.device) -> bool:
    """Products of large bfloat16 matrices are faster than in float32 there.

    Elsewhere PyTorch computes them in float32, and converts on the way in and out.
    """
    return device.type != "cpu" or _is_avx512_bf16_supported() or has_bfloat16_tiles(device)


def has_bfloat16_tiles(device: torch.device) -> bool:
    """A unit that multiplies whole tiles: AMX in a CPU, tensor cores in a GPU.

    With it small products gain too; with vector instructions alone (AVX512-BF16) they lose.
    """
    return device.type != "cpu" or bool(_is_amx_tile_supported())


def compiles_each_shape(x: torch.Tensor) -> bool:
    """Whether products with x, a weight, have a kernel compiled for each new shape.

    In bfloat16 on a CPU: 4 to 9 ms for each of a layer's products, more than the products of a
    small model take.
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu") == torch.bfloat16
    return x.dtype == torch.bfloat16
