"""Proteins for Lightning: batches that are a function of (seed, epoch, step)."""

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytorch_lightning as pl
import torch
from torch import Tensor

from protein_performer.alphabet import Alphabet, ResiduePolicy
from protein_performer.data.batching import Batching, Seat
from protein_performer.data.cache import Cached
from protein_performer.data.contexts import Context, RowRule
from protein_performer.data.encoding import Encoder
from protein_performer.data.modes import FromShards, FromStream, Mode, TrainingData
from protein_performer.data.objectives import Objective
from protein_performer.data.order import BatchOrder
from protein_performer.data.prepare import Preparation
from protein_performer.data.proteins import Crop
from protein_performer.data.report import DataReport, make_report, padding_share
from protein_performer.data.sampler import ResumableLoader
from protein_performer.data.shards import StoredSplit
from protein_performer.data.splits import SplitRule
from protein_performer.data.stream import StreamLoader
from protein_performer.errors import UserError

log = logging.getLogger(__name__)


class ProteinDataModule(pl.LightningDataModule):
    """FASTA files to batches for training, validation, test and OOD.

    `prepare_data` writes the sources' prepared form into `cache_dir`, once; in the mode `stream`
    only that of their head, which evaluation takes its proteins from, while training reads the
    sources as it goes. Either way it resumes on the next unseen batch: the position is in the
    checkpoint, and any number of ranks and workers goes on from it with the same global batches.

    Args:
        sources: FASTA or flat files, plain or gzip, globs, or addresses.
        objective: what is asked of the model.
        splits: which protein belongs where.
        mode: `shards`, prepared as a whole before training; or `stream`, for sources of any size.
        buffer: proteins that a stream shuffles together, in memory.
        head: records that evaluation and the residue counts are of in a stream.
        alphabet, residue_policy: how residues become tokens.
        context, max_length, crop, clusters: what stands in a row; see `RowRule`.
        batch_tokens: the most tokens of a global batch (of all ranks together), padding and special
            tokens included. Gradient accumulation multiplies it.
        eval_batch_tokens: the same for validation and test; None for `batch_tokens`.
        bucket_ratio: longest over shortest protein of a batch; nearer to 1 means less padding and
            less mixing.
        seed: of order, windows and masks in training.
        eval_seed: of the masks in evaluation; keep it, or figures cannot be compared.
        num_workers: processes that make batches; 0 makes them in the training process.
        cache_dir: where prepared folders go; None for `prepared/` beside the first source.
    """

    def __init__(
        self,
        sources: str | Sequence[str],
        objective: Objective,
        splits: SplitRule,
        *,
        mode: Mode = "shards",
        buffer: int = 16384,
        head: int = 50_000,
        alphabet: Alphabet | None = None,
        residue_policy: ResiduePolicy = "error",
        context: Context = "protein",
        max_length: int | None = 1024,
        crop: Crop | None = "window",
        clusters: str | None = None,
        batch_tokens: int = 16384,
        eval_batch_tokens: int | None = None,
        bucket_ratio: float = 1.08,
        seed: int = 0,
        eval_seed: int = 0,
        num_workers: int = 0,
        cache_dir: str | Path | None = None,
    ) -> None:
        super().__init__()
        if bucket_ratio <= 1:
            raise UserError(f"data.bucket_ratio: expected more than 1, got {bucket_ratio}")
        if min(seed, eval_seed) < 0:
            raise UserError(f"data: expected seeds of at least 0, got {seed} and {eval_seed}")
        if mode not in get_args(Mode):
            raise UserError(f"data.mode: expected one of {get_args(Mode)}, got {mode!r}")
        if head < 1:
            raise UserError(f"data.head: expected at least 1 record, got {head}")
        self.sources = [sources] if isinstance(sources, str) else list(sources)
        self.objective = objective
        self.alphabet = alphabet or Alphabet()
        self.residue_policy = residue_policy
        self.num_workers = num_workers
        self.head = head if mode == "stream" else None
        self.preparation = Preparation(self.alphabet, residue_policy, splits, head=self.head)
        rule = RowRule(context, max_length, crop, clusters)
        self._of_training = Batching(
            objective, self.alphabet, rule, batch_tokens, bucket_ratio, seed, evaluating=False
        )
        self._of_evaluation = replace(
            self._of_training,
            batch_tokens=eval_batch_tokens or batch_tokens,
            seed=eval_seed,
            evaluating=True,
        )
        self._cached = Cached(
            self.sources,
            self.preparation,
            None if cache_dir is None else Path(cache_dir),
            # Processes take longer to start than a head takes to prepare.
            workers=0 if self.head else num_workers,
            complete=rule.prepare,
        )
        self._training: TrainingData
        if mode == "stream":
            encoder = Encoder(self.alphabet, residue_policy, splits)
            self._training = FromStream(
                self._cached, self._of_training, encoder, buffer=buffer, num_workers=num_workers
            )
        else:
            self._training = FromShards(self._cached, self._of_training, num_workers=num_workers)

    @property
    def folder(self) -> Path:
        """The prepared folder."""
        return self._cached.folder

    @property
    def manifest(self) -> dict[str, Any]:
        """What was read, dropped and written; prepares the data if that was not done."""
        return self._cached.manifest

    def prepare_data(self) -> None:
        """Prepare the sources (or their head), unless a folder made from the same ones is there."""
        self._cached.prepare()

    @property
    def test_names(self) -> tuple[str, ...]:
        """The splits that `test_dataloader` goes through: `test`, and `ood` if one is held out."""
        return ("test", "ood") if self.preparation.splits.holds_out else ("test",)

    def setup(self, stage: str) -> None:
        """Check that no split in use is empty, and say what there is."""
        wanted = {"fit": ("train", "valid"), "validate": ("valid",), "test": self.test_names}
        for name in wanted.get(stage, ()):
            if len(self.split(name)) == 0:
                more = "Give more proteins" if self.head is None else "Raise data.head"
                raise UserError(
                    f"{', '.join(self.sources)}: the {name} split is empty. {more}, or"
                    f" raise its share in data.splits ({self.preparation.splits})."
                )
        if stage == "fit":
            self._training.begin()
            if self.head is not None:
                log.info(
                    "training reads the sources as it goes; evaluation and the figures below are of"
                    " their first %s records",
                    f"{self.head:,}",
                )
            log.info("\n%s", self.report())

    def teardown(self, stage: str) -> None:
        """Say what training read, if that is not told yet."""
        if stage == "fit":
            self._training.end()

    def split(self, name: str) -> StoredSplit:
        """The stored proteins of `train`, `valid`, `test` or `ood`."""
        return self._cached.split(name)

    def residue_counts(self) -> Tensor:
        """(V,) int64, how often each token occurs in the training set; no special tokens."""
        return torch.tensor(self.manifest["splits"]["train"]["residue_counts"])

    @property
    def steps_per_epoch(self) -> int:
        """Global batches of an epoch over the prepared training set, on any number of ranks."""
        return len(self.order("train"))

    def order(self, name: str) -> BatchOrder:
        """The batches of a split: shuffled in training, by length in evaluation."""
        batching = self._batching(name)
        return batching.order(batching.rows(self.split(name))[1].length_counts)

    def _batching(self, name: str) -> Batching:
        return self._of_training if name == "train" else self._of_evaluation

    def report(self) -> DataReport:
        """What was read, dropped and cut, and what each split holds."""
        orders = {
            name: self.order(name) for name, s in self.manifest["splits"].items() if s["proteins"]
        }
        lengths = {name: self.split(name).length_counts() for name in orders}
        padding = {
            name: padding_share(self._batching(name).rows(self.split(name))[1].length_counts, order)
            for name, order in orders.items()
        }
        cuts_to = self._of_training.row_rule.cuts_to
        return make_report(self.manifest, lengths, orders, padding, cuts_to, self.alphabet)

    def train_dataloader(self) -> ResumableLoader | StreamLoader:
        """Batches of training, from where the checkpoint stopped."""
        return self._training.loader(self._seat())

    def val_dataloader(self) -> ResumableLoader:
        """Batches of the validation set, always the same."""
        return self._evaluation_loader("valid")

    def test_dataloader(self) -> list[ResumableLoader]:
        """Batches of the test sets, in the order of `test_names`."""
        return [self._evaluation_loader(name) for name in self.test_names]

    def _evaluation_loader(self, name: str) -> ResumableLoader:
        return self._of_evaluation.loader(
            self.split(name), self._seat(), num_workers=self.num_workers
        )

    def _seat(self) -> Seat:
        if self.trainer is None:
            return Seat()
        # Lightning saves inside on_train_batch_end, before it counts the batch as completed;
        # `processed` already holds it, and never holds a batch that an exception broke off.
        # No reference to self: in a cycle, a loader's workers take seconds to end.
        progress = self.trainer.fit_loop.epoch_loop.batch_progress
        return Seat(
            self.trainer.global_rank, self.trainer.world_size, lambda: progress.total.processed
        )

    def state_dict(self) -> dict[str, Any]:
        """The next batch to train on, and what makes the batches what they are."""
        batches = math.inf if self.trainer is None else self.trainer.num_training_batches
        return {**self._training.position(batches), "identity": self._identity()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue at the checkpoint's next batch.

        Raises: UserError if this run would form other batches than the checkpoint's.
        """
        ours, theirs = self._identity(), state_dict["identity"]
        differing = [
            f"{key}: {theirs.get(key)} -> {ours.get(key)}"
            for key in {**ours, **theirs}
            if theirs.get(key) != ours.get(key)
        ]
        if differing:
            raise UserError(
                "the checkpoint cannot be resumed with other data or batches, since its place in"
                f" the epoch would mean nothing ({'; '.join(differing)}). Set data.* as they were."
            )
        self._training.resume(state_dict)

    def _identity(self) -> dict[str, Any]:
        batching = self._of_training
        return {
            "content": self.manifest["content"],
            **batching.row_rule.identity(),
            "batch_tokens": batching.batch_tokens,
            "bucket_ratio": batching.bucket_ratio,
            "seed": batching.seed,
            **self._training.identity(),
        }
