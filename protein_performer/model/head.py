"""From the last hidden states to a score of every token.

Shapes: E model width, V vocabulary.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from protein_performer.model.config import HeadKind


class TwoLayerHead(nn.Module):
    """decoder(LN(gelu(dense(h)))), the decoder's weight being the embedding's.

    Source: the masked-residue head of ESM-2 (Lin et al. 2022, doi:10.1101/2022.07.20.500902) and of
    BERT's code before it.
    """

    def __init__(self, embedding: nn.Embedding, norm_epsilon: float) -> None:
        super().__init__()
        width = embedding.embedding_dim
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=norm_epsilon)
        self.decoder = _tied(embedding)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., E) to (..., V)."""
        logits: Tensor = self.decoder(self.norm(F.gelu(self.dense(hidden))))
        return logits


def make_head(kind: HeadKind, embedding: nn.Embedding, norm_epsilon: float) -> nn.Module:
    """(..., E) to (..., V) logits, not yet initialised.

    Args:
        kind: `linear`, a weight and a bias of its own; `tied`, the embedding's weight and a bias;
            `two_layer`, see `TwoLayerHead`.
        embedding: of the tokens; (V, E).
        norm_epsilon: of the layer norm, if there is one.
    """
    if kind == "linear":
        return nn.Linear(embedding.embedding_dim, embedding.num_embeddings)
    return _tied(embedding) if kind == "tied" else TwoLayerHead(embedding, norm_epsilon)


@torch.no_grad()
def initialise_head(head: nn.Module, std: float) -> None:
    """Weights of std 0.02 in front of the logits unless they are the embedding's; biases of zero.

    Args:
        head: of `make_head`.
        std: of the inner layer, if there is one.
    """
    last = head.decoder if isinstance(head, TwoLayerHead) else head
    assert isinstance(last, nn.Linear)
    if isinstance(head, TwoLayerHead):
        nn.init.normal_(head.dense.weight, std=std)
        nn.init.zeros_(head.dense.bias)
    nn.init.normal_(last.weight, std=0.02)  # as the embedding, where it is the same one
    nn.init.zeros_(last.bias)


def _tied(embedding: nn.Embedding) -> nn.Linear:
    linear = nn.Linear(embedding.embedding_dim, embedding.num_embeddings)
    linear.weight = embedding.weight
    return linear
