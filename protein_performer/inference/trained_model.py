"""A trained model in a user's hands: sequences in, logits and embeddings out.

Row i of every output belongs to residue i (of a model of text: to byte i), for both objectives;
special tokens are in neither rows nor means.

Shapes: L_i residues of sequence i, E model width, V vocabulary, N sequences.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from protein_performer.alphabet import Alphabet
from protein_performer.errors import UserError
from protein_performer.inference.checkpoint import Checkpoint, load_checkpoint

Pooling = Literal["mean", "residue"]

BATCH_TOKENS = 8192  # of inference: places of one padded batch


def load(
    path: str | Path,
    *,
    device: str | torch.device | None = None,
    trusted_packages: Sequence[str] = (),
) -> "TrainedModel":
    """Load a checkpoint for use.

    Args:
        path: a run's `checkpoints/best.ckpt`, or the run's folder.
        device: where to compute; None takes a GPU if there is one.
        trusted_packages: see `load_checkpoint`.

    Raises: UserError; see `load_checkpoint`.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return TrainedModel(load_checkpoint(path, trusted_packages=trusted_packages), device)


class TrainedModel:
    """A model in evaluation mode, with the alphabet and residue policy of its training.

    Attributes:
        checkpoint: the network and what was stored beside it.
        device: where it computes; results come back to the CPU.
    """

    def __init__(self, checkpoint: Checkpoint, device: str | torch.device) -> None:
        self.checkpoint = checkpoint
        self.device = torch.device(device)
        self.network = checkpoint.model.to(self.device).eval()

    @property
    def alphabet(self) -> Alphabet:
        """Column v of the logits is the token with code v."""
        return self.checkpoint.alphabet

    @property
    def width(self) -> int:
        """E, the width of an embedding."""
        return self.network.width

    def check_reads_proteins(self) -> None:
        """Raise UserError if this was trained on text: files of proteins are not for it."""
        if self.alphabet.unit != "residue":
            raise UserError(
                "expected a model of proteins, got one of text. In Python, protein_performer.load"
                " gives its logits and embeddings of any text; its figures on its test split are in"
                " its run's metrics.json."
            )

    def logits(self, sequences: Sequence[str]) -> list[Tensor]:
        """Scores of every token at every residue.

        Returns: a list of (L_i, V) float32; row i scores residue i. Of a causal model it is given
            the residues before i; of a masked one the whole sequence, residue i included.
        """
        # A causal model's prediction of residue i stands one place to the left, at i - 1 or <bos>.
        first = 0 if self.network.causal else 1
        return self._rows(sequences, self.network.forward, first)

    @overload
    def embed(self, sequences: Sequence[str], pooling: Literal["mean"] = "mean") -> Tensor: ...

    @overload
    def embed(self, sequences: Sequence[str], pooling: Literal["residue"]) -> list[Tensor]: ...

    def embed(self, sequences: Sequence[str], pooling: Pooling = "mean") -> Tensor | list[Tensor]:
        """The last hidden states, after the final layer norm.

        Args:
            sequences: residues; what the alphabet does not hold is read by the policy of the
                training, except that `skip` counts as `unknown`, so that rows stay aligned.
            pooling: `mean` over the residues of each sequence, or `residue`, one row each. A
                causal model's row i has seen residues 0..i.

        Returns: (N, E) float32, or a list of (L_i, E) float32.
        """
        rows = self._rows(sequences, self.network.hidden, first=1)
        if pooling == "residue":
            return rows
        if pooling != "mean":
            raise UserError(f"pooling: expected mean or residue, got {pooling!r}")
        return torch.stack([each.mean(0) for each in rows]) if rows else torch.empty(0, self.width)

    @torch.inference_mode()
    def _rows(
        self, sequences: Sequence[str], compute: Callable[[Tensor, Tensor], Tensor], first: int
    ) -> list[Tensor]:
        """Row i of each sequence from column `first + i` of what `compute` returns."""
        codes = [self._encode(i, sequence) for i, sequence in enumerate(sequences)]
        results: list[Tensor] = [torch.empty(0)] * len(codes)
        for members in by_length([len(each) for each in codes], BATCH_TOKENS):
            tokens, mask = self._pad([codes[i] for i in members])
            output = compute(tokens, mask).float().cpu()
            for row, i in enumerate(members):
                results[i] = output[row, first : first + len(codes[i])].clone()
        return results

    def _encode(self, index: int, sequence: str) -> NDArray[np.uint8]:
        if not sequence:
            raise UserError(f"sequence {index}: expected residues, got an empty sequence")
        policy = self.checkpoint.residue_policy
        return self.alphabet.encode(
            sequence, "unknown" if policy == "skip" else policy, where=f"sequence {index}"
        )

    def _pad(self, codes: Sequence[NDArray[np.uint8]]) -> tuple[Tensor, Tensor]:
        """`<bos> residues`, then `<eos>` if the model reads both ways, as in training."""
        ends = 1 if self.network.causal else 2
        width = ends + max(len(each) for each in codes)
        tokens = np.full((len(codes), width), self.alphabet.pad, dtype=np.int64)
        mask = np.zeros(tokens.shape, dtype=bool)
        for row, each in enumerate(codes):
            tokens[row, 0] = self.alphabet.bos
            tokens[row, 1 : 1 + len(each)] = each
            if not self.network.causal:
                tokens[row, 1 + len(each)] = self.alphabet.eos
            mask[row, : ends + len(each)] = True
        return torch.from_numpy(tokens).to(self.device), torch.from_numpy(mask).to(self.device)


def by_length(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices in batches of similar length, longest first, each padded to at most `budget` tokens.

    A sequence longer than the budget is a batch of its own.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * (lengths[batch[0]] + 2) > budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
