"""What the authors' epsilon does to the error of softmax features, beside doing without.

The authors add 1e-4 to each feature, so that far keys weigh a little more than their estimates say:
biased towards uniform attention, and calmer. Errors are norms of differences from exact attention
over its norm, in float64, of one sequence with entries of q, k and v drawn from N(0, s^2), s as in
the first column, and N(0, 1) for v. An average of the values (uniform attention) is the yardstick.

  python -m benchmarks.attention.epsilon
"""

from collections.abc import Iterator

import torch
from rich.table import Table
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.attention.parity import CAUSAL_EPSILON, SOFTMAX_EPSILON, peer_formula
from protein_performer.attention.favor.projections import PROJECTIONS
from protein_performer.reporting.tables import make_console

LENGTH, HEADS, DIM, FEATURES = 1024, 8, 64, 256
SCALES = (0.25, 0.5, 0.75, 1.0)


def errors(scale: float, causal: bool, seed: int = 0) -> Iterator[float]:
    """Of no epsilon, of the authors', and of uniform attention."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(3, 1, HEADS, LENGTH, DIM, generator=generator, dtype=torch.float64)
    q, k, v = scale * drawn[0], scale * drawn[1], drawn[2]
    projection = PROJECTIONS["orthogonal"](FEATURES, DIM, generator)
    exact = scaled_dot_product_attention(q, k, v, is_causal=causal)

    def error(out: Tensor) -> float:
        return float((out - exact).norm() / exact.norm())

    for epsilon, sum_epsilon in ((0.0, 0.0), (SOFTMAX_EPSILON, CAUSAL_EPSILON)):
        yield error(
            peer_formula(
                *(q, k, v, projection),
                kernel="softmax",
                causal=causal,
                epsilon=epsilon,
                sum_epsilon=sum_epsilon,
            )
        )
    counts = torch.arange(1, LENGTH + 1)[:, None]
    yield error(v.cumsum(-2) / counts if causal else v.mean(-2, keepdim=True).expand_as(v))


def main() -> None:
    """Print the table."""
    table = Table("standard deviation of q, k", "", "no epsilon", "the authors'", "uniform")
    for scale in SCALES:
        for causal in (False, True):
            direction = "causal" if causal else "bidirectional"
            figures = (f"{each:.2f}" for each in errors(scale, causal))
            table.add_row(f"{scale:g}", direction, *figures)
    make_console().print(table)


if __name__ == "__main__":
    main()
