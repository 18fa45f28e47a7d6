"""A trained model in a user's hands: sequences in, logits and embeddings out.

Row i of every output belongs to residue i (of a model of text: to byte i), for both objectives;
special tokens are in neither rows nor means.

Shapes: L_i residues of sequence i, E model width, V vocabulary, N sequences.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from protein_performer.inference.batched_model import (
    BatchedModel,
    Precision,
    find_device,
    on_cpu,
)
from protein_performer.inference.batcher import PaddedRows
from protein_performer.inference.checkpoint import load_checkpoint
from protein_performer.inference.embedding.embedding import embed_codes
from protein_performer.inference.embedding.pooling import Pooling
from protein_performer.inference.generation.generation import GeneratedProtein, generate, in_paint
from protein_performer.inference.generation.sampling import Sampling
from protein_performer.inference.interpretation.attention_maps import attention_maps
from protein_performer.inference.scoring.likelihood import (
    Method,
    SequenceScore,
    score_codes,
)
from protein_performer.inference.scoring.mutations import check_variant, parse_variant
from protein_performer.inference.scoring.variants import VariantMethod, score_variants


def load(
    path: str | Path,
    *,
    device: str | torch.device | None = None,
    precision: Precision = "float32",
    trusted_packages: Sequence[str] = (),
) -> "TrainedModel":
    """Load a checkpoint for use.

    Args:
        path: a run's `checkpoints/best.ckpt`, or the run's folder.
        device: where to compute; None takes a GPU if there is one.
        precision: see `BatchedModel`.
        trusted_packages: see `load_checkpoint`.

    Raises: UserError; see `load_checkpoint`, and for a device that is not there.
    """
    place = find_device(device)
    checkpoint = load_checkpoint(path, trusted_packages=trusted_packages)
    return TrainedModel(checkpoint, place, precision=precision)


class TrainedModel(BatchedModel):
    """A `BatchedModel` with what users do with it."""

    def logits(self, sequences: str | Sequence[str]) -> list[Tensor]:
        """Scores of every token at every residue.

        Returns: a list of (L_i, V) float32; row i scores residue i. Of a causal model it is given
            the residues before i; of a masked one the whole sequence, residue i included.
        """
        # A causal model's prediction of residue i stands one place to the left, at i - 1 or <bos>.
        first = 0 if self.network.causal else 1

        def compute(rows: PaddedRows) -> list[Tensor]:
            return on_cpu(rows.of_residues(self.network(rows.tokens, rows.mask), first))

        return self.map_rows(self.encode(sequences), compute)

    @overload
    def embed(
        self,
        sequences: str | Sequence[str],
        pooling: Literal["mean", "max", "bos", "eos"] = "mean",
        *,
        layer: int = -1,
    ) -> Tensor: ...

    @overload
    def embed(
        self, sequences: str | Sequence[str], pooling: Literal["residue"], *, layer: int = -1
    ) -> list[Tensor]: ...

    def embed(
        self, sequences: str | Sequence[str], pooling: Pooling = "mean", *, layer: int = -1
    ) -> Tensor | list[Tensor]:
        """Hidden states; of the last layer, which is the default, after the final layer norm.

        Args:
            sequences: residues, as of `encode`; a single string is one sequence.
            pooling: `mean` or `max` over the residues of each sequence, the state at `bos` or
                `eos`, or `residue`, one row each; see `pooling.pool`. A causal model's row i has
                seen residues 0..i.
            layer: see `ProteinTransformer.hidden_layers`.

        Returns: (N, E) float32, or for `residue` a list of (L_i, E) float32.
        """
        results = embed_codes(self, self.encode(sequences), pooling, (layer,))
        rows = [each[0] for each in results if each is not None]
        if pooling == "residue":
            return rows
        return torch.stack(rows) if rows else torch.empty(0, self.width)

    def generate(
        self,
        number: int = 1,
        *,
        max_length: int = 1000,
        prompt: str = "",
        sampling: Sampling | None = None,
    ) -> list[GeneratedProtein]:
        """New proteins from a causal model; see `generation.generate`."""
        return generate(self, number, max_length=max_length, prompt=prompt, sampling=sampling)

    def in_paint(
        self,
        sequence: str,
        positions: Sequence[int],
        number: int = 1,
        *,
        sampling: Sampling | None = None,
    ) -> list[GeneratedProtein]:
        """A protein with residues filled in by a masked model; see `generation.in_paint`."""
        return in_paint(self, sequence, positions, number, sampling=sampling)

    def score(
        self, sequences: str | Sequence[str], method: Method | None = None
    ) -> list[SequenceScore]:
        """How likely the model finds each sequence.

        Args:
            sequences: residues, as of `encode`; a single string is one sequence.
            method: `exact` of a model of the next residue; of a masked one `pseudo`, as many passes
                as there are residues, or `one-pass`, its approximation; see
                `likelihood.score_codes`. None for `exact` or `pseudo`.
        """
        return score_codes(self, self.encode(sequences), method)

    def variants(
        self, wild_type: str, variants: Sequence[str], method: VariantMethod | None = None
    ) -> NDArray[np.float64]:
        """How much likelier each variant is than the wild type.

        Args:
            wild_type: residues, as of `encode`.
            variants: such as `A123G` or `A123G:T45K`, positions from 1; `WT` for none.
            method: `log-ratio` of a causal model; of a masked one `masked-marginal`,
                `wild-type-marginal`, `pseudo` or `one-pass`; see `variants.score_variants`. None
                for `log-ratio` or `masked-marginal`.

        Returns: (N,) nats; more is likelier.
        Raises: UserError, naming variant and residue, for one that does not fit the wild type.
        """
        (codes,) = self.encode(wild_type)
        residues = self.alphabet.decode(codes)
        parsed = [parse_variant(text, f"variant {i}") for i, text in enumerate(variants)]
        for i, variant in enumerate(parsed):
            check_variant(variant, residues, self.alphabet.letters, f"variant {i}")
        return score_variants(self, codes, parsed, method)

    def attention(self, sequence: str) -> Tensor:
        """(layers, H, tokens, tokens): what each token looks at; see `attention_maps`."""
        (codes,) = self.encode([sequence])
        return attention_maps(self, codes)
