"""FAVOR+ beside flash attention on a GPU, in bfloat16: forward and backward pass, causal and not.

Times are CUDA events around several passes, memory is the allocator's. What could go wrong without
a word is an error: a kernel that is not the one named, a contestant that computes something else,
events that disagree with the wall clock.

Shapes: B batch, H heads, L positions, D head width, M features.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol

import torch
from rich.table import Table
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.attention.peers import is_importable
from benchmarks.attention.sizes import Sizes
from benchmarks.timing import Step, spread
from protein_performer.attention.favor.favor import Favor
from protein_performer.attention.protocol import LayerSpec
from protein_performer.errors import UserError

BATCH = 8  # B: of one sequence alone, a GPU waits for the host
PASSES = 5  # between two events
LINEAR_PEER = "fla.ops.linear_attn"
_CHECKED_AT = 256  # positions
_TOLERANCE = 0.02  # relative, of bfloat16 against float32 of the same formula
_EPSILON = 1e-3

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


class Meter(Protocol):
    """Measures steps on one device."""

    device: str

    def seconds(self, step: Step) -> float:
        """Of one pass."""
        ...

    def peak_bytes(self, step: Step) -> int:
        """Allocated during a pass, beyond what was there before it."""
        ...


class Cuda:
    """Events and the caching allocator's own statistics."""

    device = "cuda"

    def __init__(self) -> None:
        if not torch.cuda.is_available():
            raise UserError(
                "--device cuda: PyTorch finds no GPU here. Install a build of PyTorch for CUDA, or"
                " leave the option out to measure the CPU."
            )

    def seconds(self, step: Step) -> float:
        """Raises: UserError where events and wall clock disagree."""
        start, end = self._event(), self._event()
        torch.cuda.synchronize()
        wall = time.perf_counter()
        start.record()
        for _ in range(PASSES):
            step()
        end.record()
        torch.cuda.synchronize()
        wall = time.perf_counter() - wall
        elapsed = float(start.elapsed_time(end)) / 1000
        if not 0 < elapsed <= 1.05 * wall:
            raise UserError(
                f"CUDA events: expected at most the wall clock's {wall:.6f} s for {PASSES} passes,"
                f" got {elapsed:.6f} s; the times mean nothing"
            )
        return elapsed / PASSES

    def _event(self) -> torch.cuda.Event:
        return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]

    def peak_bytes(self, step: Step) -> int:
        """Of the tensors, not of what the allocator keeps for later."""
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before


def measure_accelerator(meter: Meter, sizes: Sizes, rounds: int) -> list[dict[str, Any]]:
    """A row for each contestant, direction and length, in turns within a length.

    Raises: UserError for a contestant whose output is not that of its formula.
    """
    rows = []
    for causal in (True, False):
        for length in (*sizes.lengths, sizes.longest):
            steps = {}
            for name, attend in _contestants(causal, sizes, meter.device):
                _check(name, attend, causal, sizes, meter.device)
                steps[name] = _step(attend, length, sizes, meter.device)
                steps[name]()  # compiled and tuned before the clock starts
            seconds: dict[str, list[float]] = {name: [] for name in steps}
            for _ in range(rounds):
                for name, step in steps.items():
                    seconds[name].append(meter.seconds(step))
            rows += [
                {
                    "contestant": name,
                    "direction": "causal" if causal else "bidirectional",
                    "length": length,
                    "seconds": spread(seconds[name])._asdict(),
                    "peak_bytes": meter.peak_bytes(step),
                }
                for name, step in steps.items()
            ]
    return rows


def accelerator_table(rows: list[dict[str, Any]]) -> Table:
    """Of `measure_accelerator`'s rows."""
    table = Table("direction", "positions", "contestant", "ms, median (min-max)", "peak MB")
    for row in rows:
        median, low, high = (1000 * row["seconds"][each] for each in ("median", "low", "high"))
        table.add_row(
            row["direction"],
            f"{row['length']:,}",
            row["contestant"],
            f"{median:.2f} ({low:.2f}-{high:.2f})",
            f"{row['peak_bytes'] / 1e6:,.0f}",
        )
    return table


def _contestants(causal: bool, sizes: Sizes, device: str) -> Iterator[tuple[str, Attend]]:
    yield "SDPA, flash", partial(_flash, causal=causal)
    for kernel in ("softmax", "relu"):
        yield f"FAVOR+ {kernel}", partial(_favor(kernel, causal, sizes, device), key_mask=None)
    if causal and is_importable(LINEAR_PEER):
        yield "flash-linear-attention", partial(_linear_peer, weight=_weight(sizes, device))


def _flash(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION]):  # an error where it does not run
        return scaled_dot_product_attention(q, k, v, is_causal=causal)


def _favor(kernel: str, causal: bool, sizes: Sizes, device: str) -> Favor:
    spec = LayerSpec(sizes.heads, sizes.head_dim, causal)
    return Favor(spec, feature_map=kernel, num_features=sizes.features).to(device)


def _weight(sizes: Sizes, device: str) -> Tensor:
    """(M, D), the same in every call."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(sizes.features, sizes.head_dim, generator=generator).to(device)


def _relu_features(x: Tensor, weight: Tensor) -> Tensor:
    return (x @ weight.to(x.dtype).mT).relu() + _EPSILON


def _linear_peer(q: Tensor, k: Tensor, v: Tensor, *, weight: Tensor) -> Tensor:
    """The library's chunked product of ReLU features: (B, L, H, M) there, (B, H, L, M) here."""
    from fla.ops.linear_attn import chunk_linear_attn

    features = (_relu_features(x, weight).transpose(1, 2).contiguous() for x in (q, k))
    out: Tensor = chunk_linear_attn(*features, v.transpose(1, 2).contiguous(), normalize=True)[0]
    return out.transpose(1, 2)


def _check(name: str, attend: Attend, causal: bool, sizes: Sizes, device: str) -> None:
    """Hold a contestant to its own formula in float32 at a short length."""
    tensors, _ = _inputs(_CHECKED_AT, sizes, device)
    q, k, v = (x.detach() for x in tensors)
    wide = (q.float(), k.float(), v.float())
    if name == "flash-linear-attention":
        features = (_relu_features(x, _weight(sizes, device)) for x in wide[:2])
        scores = torch.matmul(next(features), next(features).mT).tril()
        expected = scores / scores.sum(-1, keepdim=True) @ wide[2]
    elif name.startswith("FAVOR+"):
        expected = attend(*wide)
    else:
        with sdpa_kernel([SDPBackend.MATH]):
            expected = scaled_dot_product_attention(*wide, None, 0.0, causal)
    error = float((attend(q, k, v).float() - expected).norm() / expected.norm())
    if not error <= _TOLERANCE:  # NaN is none either
        raise UserError(
            f"{name}: expected its formula within {_TOLERANCE:.0%} in bfloat16, got {error:.1%};"
            " its times would be those of another computation"
        )


def _inputs(length: int, sizes: Sizes, device: str) -> tuple[list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(length)
    shape = (BATCH, sizes.heads, length, sizes.head_dim)
    drawn = [torch.randn(shape, generator=generator).to(device, torch.bfloat16) for _ in range(4)]
    return [x.requires_grad_() for x in drawn[:3]], drawn[3]


def _step(attend: Attend, length: int, sizes: Sizes, device: str) -> Step:
    tensors, gradient = _inputs(length, sizes, device)

    def step() -> object:
        return torch.autograd.grad(attend(*tensors), tensors, gradient)

    return step
