"""What 16-bit products are worth on a device, known from the processor's instructions.

By flags and not by a timing: two runs of one config on one machine compute the same.
"""

import torch

# PyTorch has these tests from 2.4 on, and no public form of them before 2.10.
from torch.cpu import _is_amx_tile_supported, _is_avx512_bf16_supported


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
