"""How large everything is that the benchmark measures: the official set, and one to try it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """All lengths in positions, one row a batch but for the training step.

    Attributes:
        lengths: of the curves, ascending.
        middle, long: two of them, where mechanisms are compared with their peers.
        longest: for the growth from `long`, linear mechanisms only.
        heads, head_dim, features: of attention alone.
        chunk, rounds: of Reformer. num_keys: of Linformer. window: of exact attention nearby.
        matrix: edge of the square matrices whose product is the machine's peak.
        layers, width, hidden_width, step_features: of the trunk whose training step is measured,
            on `long` tokens in rows of `middle` or `long`.
        parity: length at which outputs are compared with a peer's.
    """

    lengths: tuple[int, ...]
    middle: int
    long: int
    longest: int
    heads: int = 8
    head_dim: int = 64
    features: int = 256
    chunk: int = 64
    hash_rounds: int = 4
    num_keys: int = 256
    window: int = 128
    matrix: int = 2048
    layers: int = 4
    width: int = 256
    hidden_width: int = 1024
    step_features: int = 128
    parity: int = 256


OFFICIAL = Sizes(lengths=(512, 1024, 2048, 4096, 8192), middle=2048, long=8192, longest=32768)

QUICK = Sizes(
    lengths=(64, 128),
    middle=64,
    long=128,
    longest=512,
    heads=2,
    head_dim=16,
    features=32,
    chunk=16,
    hash_rounds=2,
    num_keys=16,
    window=16,
    matrix=128,
    layers=1,
    width=32,
    hidden_width=64,
    step_features=16,
    parity=128,
)
