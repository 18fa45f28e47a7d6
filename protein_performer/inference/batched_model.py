"""A network in use: sequences to codes, codes to batches on its device, results in order again.

What one does with a checkpoint is written against this; `trained_model` gathers it for users.

Shapes: L_i residues of sequence i, V vocabulary.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar, get_args

import torch
from torch import Tensor

from protein_performer.alphabet import Alphabet, ResiduePolicy
from protein_performer.errors import UserError
from protein_performer.inference.batcher import BATCH_TOKENS, Codes, PaddedRows, in_batches, pad
from protein_performer.inference.checkpoint import Checkpoint
from protein_performer.processor import multiplies_bfloat16

log = logging.getLogger(__name__)

Precision = Literal["float32", "bf16"]
Result = TypeVar("Result")


class BatchedModel:
    """A model in evaluation mode, with the alphabet and residue policy of its training.

    Args:
        checkpoint: the network and what was stored beside it.
        device: where it computes; results come back to the CPU.
        precision: float32, or bf16 for products in bfloat16 where PyTorch's autocast has them. A
            CPU without such products computes in float32, with a warning.
        batch_tokens: places of a padded batch; fewer take less memory.

    Attributes:
        network: the checkpoint's, on the device.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str | torch.device,
        *,
        precision: Precision = "float32",
        batch_tokens: int = BATCH_TOKENS,
    ) -> None:
        if precision not in get_args(Precision):
            raise UserError(f"precision: expected float32 or bf16, got {precision!r}")
        self.checkpoint = checkpoint
        self.device = torch.device(device)
        self.precision = precision
        if precision == "bf16" and not multiplies_bfloat16(self.device):
            log.warning("this CPU has no bfloat16 products: precision=bf16 computes in float32")
            self.precision = "float32"
        self.batch_tokens = batch_tokens
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

    def map_rows(
        self,
        codes: Sequence[Codes],
        compute: Callable[[PaddedRows], Sequence[Result]],
        *,
        on_failure: Callable[[int], Result] | None = None,
    ) -> list[Result]:
        """Compute something of every encoded sequence, in batches; see `batcher.in_batches`.

        Args:
            codes: (L_i,) each, without special tokens.
            compute: from padded rows to a result of each, without gradients and in this model's
                precision. A result must not be a view of a whole batch.
            on_failure: see `in_batches`.
        """
        return self.map_batches(
            [len(each) for each in codes],
            lambda batch: compute(
                pad([codes[i] for i in batch], ends=not self.network.causal, device=self.device)
            ),
            on_failure=on_failure,
        )

    @torch.inference_mode()
    def map_batches(
        self,
        lengths: Sequence[int],
        compute: Callable[[list[int]], Sequence[Result]],
        *,
        on_failure: Callable[[int], Result] | None = None,
    ) -> list[Result]:
        """As `map_rows`, where `compute` makes the rows itself, from the indices of a batch."""
        cast = self.precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=cast):
            return in_batches(lengths, compute, budget=self.batch_tokens, on_failure=on_failure)

    def encode(self, sequences: str | Sequence[str]) -> list[Codes]:
        """Residues to codes, without special tokens.

        What the alphabet does not hold is read by the policy of the training, except that `skip`
        counts as `unknown`, so that rows stay aligned. A single string is one sequence.

        Raises: UserError for an empty sequence, and as the policy says.
        """
        if isinstance(sequences, str):
            sequences = [sequences]
        return [self._encode(i, sequence) for i, sequence in enumerate(sequences)]

    def _encode(self, index: int, sequence: str) -> Codes:
        if not sequence:
            raise UserError(f"sequence {index}: expected residues, got an empty sequence")
        policy = aligned(self.checkpoint.residue_policy)
        return self.alphabet.encode(sequence, policy, where=f"sequence {index}")


def aligned(policy: ResiduePolicy) -> ResiduePolicy:
    """The policy that keeps a row for every character: `unknown` in place of `skip`."""
    return "unknown" if policy == "skip" else policy


def find_device(name: str | torch.device | None) -> torch.device:
    """The device of this name, or a GPU if there is one. Raises UserError if it cannot compute."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(1, device=device)
    # PyTorch raises several kinds, by the way in which a device is not there.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"device {str(name)!r}: not on this machine ({reason}). Try cpu.") from None
    return device


def on_cpu(views: Sequence[Tensor]) -> list[Tensor]:
    """Float32 copies on the CPU, which do not hold the batch that they are views of."""
    return [view.to("cpu", torch.float32, copy=True) for view in views]
