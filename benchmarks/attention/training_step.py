"""One optimizer step of the whole trunk: what an attention mechanism costs where it is used.

Shapes: B batch, L positions.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F

from benchmarks.attention.sizes import Sizes
from benchmarks.timing import Step
from protein_performer.alphabet import Alphabet
from protein_performer.attention.favor.favor import Favor
from protein_performer.attention.identity import Values
from protein_performer.attention.protocol import MakeAttention
from protein_performer.attention.softmax import Softmax
from protein_performer.model.config import TrunkConfig
from protein_performer.model.transformer import ProteinTransformer

VALUES, VALUES_DIRECTION = "values", "bidirectional"  # it has no direction and runs once a round
_WARM_UP = 128  # positions; the first step also makes the optimizer's state


def training_mechanisms(sizes: Sizes) -> dict[str, MakeAttention]:
    """By name; `values` is the model that no mechanism can beat."""
    favor = partial(Favor, num_features=sizes.step_features)
    return {
        VALUES: Values,
        "FAVOR+ softmax": partial(favor, feature_map="softmax"),
        "FAVOR+ ReLU": partial(favor, feature_map="relu"),
        "SDPA": Softmax,
    }


def training_step(name: str, causal: bool, length: int, sizes: Sizes) -> Step:
    """Forward, loss at every token, backward and AdamW, on rows of L of random residues.

    The batch has `sizes.long` tokens, whatever the length of its rows.
    """
    torch.manual_seed(0)
    vocabulary_size = len(Alphabet())
    model = ProteinTransformer(
        vocabulary_size,
        training_mechanisms(sizes)[name],
        TrunkConfig(sizes.width, sizes.layers, sizes.heads, sizes.hidden_width, causal),
    )
    optimizer = torch.optim.AdamW(model.parameters())
    tokens = torch.randint(vocabulary_size, (sizes.long // length, length))

    def step(inputs: torch.Tensor) -> None:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs).flatten(0, 1), inputs.flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    step(tokens[:1, :_WARM_UP])
    return partial(step, tokens)


def matrix_product(size: int) -> Step:
    """The product of two square float32 matrices: 2 size^3 operations, the machine's peak."""
    a, b = torch.randn(2, size, size)
    out = torch.empty(size, size)
    product: Callable[[], object] = partial(torch.mm, a, b, out=out)
    product()
    return product
