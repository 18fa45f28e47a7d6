"""Who runs: our mechanisms and their peers, each as one forward and backward pass.

Shapes: B batch, H heads, L positions, D head width, E = H D.

Everything is float32 unless its name says bfloat16, without padding, on inputs of unit variance.
The gradients of inputs and of parameters are computed, never those of features.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.attention import peers
from benchmarks.attention.sizes import Sizes
from benchmarks.timing import Step
from protein_performer.attention.favor import linear
from protein_performer.attention.favor.favor import Favor
from protein_performer.attention.favor.features import FEATURE_MAPS, Pairs
from protein_performer.attention.favor.linear import Operands
from protein_performer.attention.favor.precision import precision_of
from protein_performer.attention.linformer import Linformer
from protein_performer.attention.protocol import LayerSpec
from protein_performer.attention.reformer.reformer import Reformer
from protein_performer.attention.sliding_window import SlidingWindow
from protein_performer.attention.softmax import Softmax
from protein_performer.model.layers import AttentionLayer

BOTH = ("causal", "bidirectional")
_WARM_UP = 256  # positions

Inputs = Literal["q k v", "qk v", "x"]


@dataclass(frozen=True)
class Mechanism:
    """One mechanism of one library.

    Attributes:
        build: (causal, length, sizes) to what is called with the inputs.
        inputs: three or two times (1, H, L, D), or (1, L, E) with the projections in the mechanism.
        directions: of BOTH.
        lengths: at all lengths; at those and the longest; at middle and long; at middle only.
        rival_of: ours, of the same arithmetic, that it is compared with.
        is_peer: from another library, of the extra `[peers]`.
        few_rounds: it would take most of the time.
        processes: in so many its memory is measured, if its peak differs from one to the next.
        requires: a module beyond the extra; where it cannot be imported, no run.
        dtype: of the inputs.
    """

    build: Callable[[bool, int, Sizes], Callable[..., Tensor]]
    inputs: Inputs = "q k v"
    directions: tuple[str, ...] = BOTH
    lengths: Literal["all", "all and longest", "two", "middle"] = "all"
    rival_of: str | None = None
    is_peer: bool = False
    few_rounds: bool = False
    processes: int = 1
    requires: str | None = None
    dtype: torch.dtype = torch.float32

    def runs(self, direction: str, length: int, sizes: Sizes, with_peers: bool) -> bool:
        """Whether it is part of a measurement, as far as this machine can run it."""
        if direction not in self.directions or length not in self.at(sizes):
            return False
        if self.is_peer and not with_peers:
            return False
        return self.requires is None or peers.is_importable(self.requires)

    def at(self, sizes: Sizes) -> tuple[int, ...]:
        """The lengths at which it runs."""
        return {
            "all": sizes.lengths,
            "all and longest": (*sizes.lengths, sizes.longest),
            "two": (sizes.middle, sizes.long),
            "middle": (sizes.middle,),
        }[self.lengths]


def _spec(causal: bool, sizes: Sizes) -> LayerSpec:
    return LayerSpec(sizes.heads, sizes.head_dim, causal)


def _ours(mechanism: nn.Module) -> Callable[..., Tensor]:
    return partial(mechanism, key_mask=None)


def _exact(causal: bool, length: int, sizes: Sizes) -> Callable[..., Tensor]:
    return _ours(Softmax(_spec(causal, sizes)))


def _pytorch_exact(causal: bool, length: int, sizes: Sizes) -> Callable[..., Tensor]:
    """Without the choice of precision that `Softmax` makes."""
    return partial(scaled_dot_product_attention, is_causal=causal)


def _favor(kernel: str, causal: bool, length: int, sizes: Sizes) -> Callable[..., Tensor]:
    spec = _spec(causal, sizes)
    return _ours(Favor(spec, feature_map=kernel, num_features=sizes.features))


def _plain_favor(kernel: str, causal: bool, length: int, sizes: Sizes) -> Callable[..., Tensor]:
    """What `favor/cpu` has to beat: the same sums by `favor/linear.py`, in plain PyTorch."""
    favor = Favor(_spec(causal, sizes), feature_map=kernel, num_features=sizes.features)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        features = FEATURE_MAPS[kernel](favor.projection, Pairs(q, k, key_mask=None))
        q, k = features.gained(q), features.gained(k)
        precision = precision_of(q, k, v)
        operands = Operands(q, k, v, features.base2(), None, normalize=True, precision=precision)
        return linear.causal(operands)[0] if causal else linear.bidirectional(operands)

    return attend


def _under_autocast(
    build: Callable[[bool, int, Sizes], Callable[..., Tensor]],
    causal: bool,
    length: int,
    sizes: Sizes,
) -> Callable[..., Tensor]:
    attend = build(causal, length, sizes)

    def cast(*inputs: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return attend(*inputs)

    return cast


def _performer_pytorch(
    kernel: str, causal: bool, length: int, sizes: Sizes, compiled: bool = False
) -> Callable[..., Tensor]:
    return peers.performer_pytorch(
        kernel,
        causal=causal,
        head_dim=sizes.head_dim,
        num_features=sizes.features,
        compiled=compiled,
    )


def _window(causal: bool, length: int, sizes: Sizes) -> Callable[..., Tensor]:
    return _ours(SlidingWindow(_spec(causal, sizes), window=sizes.window))


def _reformer(causal: bool, length: int, sizes: Sizes) -> Callable[..., Tensor]:
    spec = _spec(causal, sizes)
    mechanism = Reformer(spec, chunk=sizes.chunk, num_rounds=sizes.hash_rounds)
    return lambda qk, v: mechanism(qk, qk, v, key_mask=None)


def _reformer_pytorch(causal: bool, length: int, sizes: Sizes) -> Callable[..., Tensor]:
    return peers.reformer_pytorch(causal=causal, chunk=sizes.chunk, rounds=sizes.hash_rounds)


def _linformer(causal: bool, length: int, sizes: Sizes) -> Callable[..., Tensor]:
    """One E and one F for all heads, as the peer has them, inside the trunk's projections."""
    make = partial(Linformer, max_length=length, num_keys=sizes.num_keys, sharing="headwise")
    layer = AttentionLayer(sizes.heads * sizes.head_dim, _spec(causal, sizes), make)
    return partial(layer, mask=None, rotation=None)


def _linformer_peer(causal: bool, length: int, sizes: Sizes) -> Callable[..., Tensor]:
    return peers.linformer(
        width=sizes.heads * sizes.head_dim,
        length=length,
        num_keys=sizes.num_keys,
        heads=sizes.heads,
    )


_peer = partial(Mechanism, is_peer=True)
_bfloat16 = partial(Mechanism, dtype=torch.bfloat16)
_peer_bfloat16 = partial(_peer, dtype=torch.bfloat16, directions=("bidirectional",))
BFLOAT16 = ", bfloat16"  # ends the names of what runs in it

# Rivals stand beside each other: that is the order in which they run.
MECHANISMS: dict[str, Mechanism] = {
    "SDPA": Mechanism(_exact),
    "FAVOR+ softmax": Mechanism(partial(_favor, "softmax"), lengths="all and longest"),
    "FAVOR+ softmax, plain": Mechanism(partial(_plain_favor, "softmax"), rival_of="FAVOR+ softmax"),
    "FAVOR+ ReLU": Mechanism(partial(_favor, "relu"), lengths="all and longest"),
    "FAVOR+ ReLU, plain": Mechanism(partial(_plain_favor, "relu"), rival_of="FAVOR+ ReLU"),
    "SDPA, bfloat16": _bfloat16(_pytorch_exact),
    "FAVOR+ softmax, bfloat16": _bfloat16(partial(_favor, "softmax")),
    "FAVOR+ ReLU, bfloat16": _bfloat16(partial(_favor, "relu")),
    "performer-pytorch softmax, bfloat16": _peer_bfloat16(
        partial(_under_autocast, partial(_performer_pytorch, "softmax")),
        rival_of="FAVOR+ softmax, bfloat16",
    ),
    "performer-pytorch ReLU, bfloat16": _peer_bfloat16(
        partial(_under_autocast, partial(_performer_pytorch, "relu")),
        rival_of="FAVOR+ ReLU, bfloat16",
    ),
    "performer-pytorch softmax": _peer(
        partial(_performer_pytorch, "softmax"),
        directions=("bidirectional",),
        rival_of="FAVOR+ softmax",
    ),
    "performer-pytorch ReLU": _peer(
        partial(_performer_pytorch, "relu"), directions=("bidirectional",), rival_of="FAVOR+ ReLU"
    ),
    "performer-pytorch compiled": _peer(
        partial(_performer_pytorch, "softmax", compiled=True),
        directions=("causal",),
        lengths="middle",
        rival_of="FAVOR+ softmax",
        requires=peers.COMPILED_PRODUCT,
    ),
    "performer-pytorch fallback": _peer(
        partial(_performer_pytorch, "softmax"),
        directions=("causal",),
        lengths="middle",
        rival_of="FAVOR+ softmax",
        few_rounds=True,
        processes=5,
    ),
    "sliding window": Mechanism(_window, directions=("bidirectional",)),
    "Reformer": Mechanism(_reformer, inputs="qk v", lengths="two"),
    "reformer-pytorch": _peer(_reformer_pytorch, inputs="qk v", lengths="two", rival_of="Reformer"),
    "Linformer": Mechanism(_linformer, inputs="x", directions=("bidirectional",), lengths="two"),
    "linformer (peer)": _peer(
        _linformer_peer,
        inputs="x",
        directions=("bidirectional",),
        lengths="two",
        rival_of="Linformer",
    ),
}


def attention_step(name: str, causal: bool, length: int, sizes: Sizes) -> Step:
    """One forward and backward pass, warmed up on a shorter sequence."""
    mechanism = MECHANISMS[name]
    torch.manual_seed(0)
    attend = mechanism.build(causal, length, sizes)
    parameters = tuple(_parameters(attend))

    def step(tensors: tuple[Tensor, ...], grad: Tensor) -> object:
        out = attend(*tensors)
        return torch.autograd.grad(out, (*tensors, *parameters), grad.view_as(out))

    inputs = partial(_tensors, mechanism.inputs, sizes=sizes, dtype=mechanism.dtype)
    step(*inputs(length=min(length, _WARM_UP)))
    return partial(step, *inputs(length=length))


def _parameters(attend: Any) -> list[nn.Parameter]:
    module = attend.func if isinstance(attend, partial) else attend
    return list(module.parameters()) if isinstance(module, nn.Module) else []


@lru_cache
def _tensors(
    inputs: Inputs, *, length: int, sizes: Sizes, dtype: torch.dtype
) -> tuple[tuple[Tensor, ...], Tensor]:
    """The inputs, the same for all mechanisms, and a gradient of the output's size."""
    generator = torch.Generator().manual_seed(length)
    shape: tuple[int, ...] = (1, sizes.heads, length, sizes.head_dim)
    if inputs == "x":
        shape = (1, length, sizes.heads * sizes.head_dim)
    number = len(inputs.split()) + 1
    drawn = [torch.randn(shape, generator=generator).to(dtype) for _ in range(number)]
    return tuple(x.requires_grad_() for x in drawn[:-1]), drawn[-1]
