"""Proteins for Lightning: batches that are a function of (seed, epoch, step)."""

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import pytorch_lightning as pl
import torch
from torch import Tensor

from protein_performer.alphabet import Alphabet
from protein_performer.data.batch_report import keep_report, make_report
from protein_performer.data.batches.loader import Batching, Rank, ResumableLoader
from protein_performer.data.batches.order import BatchOrder
from protein_performer.data.batches.proteins import Crop
from protein_performer.data.batches.row_rule import Context, RowRule
from protein_performer.data.modes import (
    FromShards,
    FromStream,
    Mode,
    TrainingData,
    check_streamable,
)
from protein_performer.data.objectives import Objective
from protein_performer.data.origins import Sources, make_origin
from protein_performer.data.preparing.preprocessing import Preprocessing
from protein_performer.data.shards import StoredSplit
from protein_performer.data.splits import SPLITS, SplitRule
from protein_performer.data.streaming.stream_loader import StreamLoader
from protein_performer.errors import UserError
from protein_performer.reporting.data_report import DataReport

log = logging.getLogger(__name__)


class ProteinDataModule(pl.LightningDataModule):
    """FASTA files or prepared shards to batches for training, validation, test and OOD.

    `prepare_data` writes the sources' prepared form into `cache_dir`, once; in the mode `stream`
    only that of their head, which evaluation takes its proteins from, while training reads the
    sources as it goes. Either way it resumes on the next unseen batch: the position is in the
    checkpoint, and any number of ranks and workers goes on from it with the same global batches.

    Args:
        sources, splits, origin: where the proteins come from, which belongs where, and how they
            become tokens; see `origins.make_origin`.
        objective: what is asked of the model.
        mode: `shards`, prepared as a whole before training; or `stream`, for sources of any size.
        buffer: proteins that a stream shuffles together, in memory.
        head: records that evaluation and the residue counts are of in a stream.
        context, max_length, crop, clusters: what stands in a row; see `RowRule`.
        batch_tokens: the most tokens of a global batch (of all ranks together), padding and special
            tokens included. Gradient accumulation multiplies it.
        eval_batch_tokens: the same for validation and test; None for `batch_tokens`.
        bucket_ratio: longest over shortest protein of a batch; nearer to 1 means less padding and
            less mixing.
        seed: of order, windows and masks in training.
        eval_seed: of the masks in evaluation; keep it, or figures cannot be compared.
        num_workers: processes that make batches; 0 makes them in the training process.
    """

    def __init__(
        self,
        sources: str | Sequence[str] | None,
        objective: Objective,
        splits: SplitRule | None = None,
        *,
        mode: Mode = "shards",
        buffer: int = 16384,
        head: int = 50_000,
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
        **origin: Any,
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
        self.head = head if mode == "stream" else None
        self.origin = make_origin(sources, splits, head=self.head, **origin)
        self.objective = objective
        self.row_rule = RowRule(context, max_length, crop, clusters)
        self.batch_tokens = batch_tokens
        self.eval_batch_tokens = eval_batch_tokens or batch_tokens
        self.bucket_ratio = bucket_ratio
        self.seed = seed
        self.eval_seed = eval_seed
        self.num_workers = num_workers
        self.buffer = buffer
        if self.head is not None:
            check_streamable(self.row_rule, batch_tokens, buffer)

    @property
    def preprocessing(self) -> Preprocessing:
        """How the records became tokens in splits."""
        return self.origin.preprocessing

    @property
    def alphabet(self) -> Alphabet:
        """How residues became tokens."""
        return self.preprocessing.alphabet

    @property
    def folder(self) -> Path:
        """The prepared folder."""
        return self.origin.folder

    @cached_property
    def _of_training(self) -> Batching:
        return Batching(
            self.objective,
            self.alphabet,
            self.row_rule,
            self.batch_tokens,
            self.bucket_ratio,
            self.seed,
            evaluating=False,
        )

    @cached_property
    def _of_evaluation(self) -> Batching:
        return replace(
            self._of_training,
            batch_tokens=self.eval_batch_tokens,
            seed=self.eval_seed,
            evaluating=True,
        )

    @cached_property
    def _training(self) -> TrainingData:
        # No reference to self: in a cycle, a loader's workers take seconds to end.
        batching, workers = self._of_training, self.num_workers
        if self.head is None:
            return FromShards(self.origin.split, batching, num_workers=workers)
        assert isinstance(self.origin, Sources)  # see `make_origin`
        return FromStream(self.origin, batching, buffer=self.buffer, num_workers=workers)

    @property
    def manifest(self) -> dict[str, Any]:
        """What was read, dropped and written; prepares the data if that was not done."""
        self.prepare_data()
        return self.origin.manifest

    def prepare_data(self) -> None:
        """Prepare or fetch what is not there yet."""
        # Processes take longer to start than a head takes to prepare.
        self.origin.prepare(self.num_workers if self.head is None else 0)
        manifest = self.origin.manifest
        for name in [name for name, split in manifest["splits"].items() if split["proteins"]]:
            self.row_rule.prepare(self.origin.split(name))

    @property
    def test_names(self) -> tuple[str, ...]:
        """The splits that `test_dataloader` goes through: `test`, and `ood` if one is held out."""
        return ("test", "ood") if self.preprocessing.holds_out else ("test",)

    def setup(self, stage: str) -> None:
        """Check that no split in use is empty, and say what there is."""
        wanted = {"fit": ("train", "val"), "validate": ("val",), "test": self.test_names}
        for name in wanted.get(stage, ()):
            if len(self.split(name)) == 0:
                raise UserError(f"{self.origin.name}: the {name} split is empty. {self._advice}")
        if stage == "fit":
            self._training.begin()
            if self.trainer is None or self.trainer.global_rank == 0:
                self._log_report()

    @property
    def _advice(self) -> str:
        advice = self.preprocessing.advice
        return advice if self.head is None else f"Raise data.head, or: {advice}"

    def _log_report(self) -> None:
        """The short report in the log; the long one beside the shards, where it is kept."""
        if self.head is not None:
            log.info(
                "training reads the sources as it goes; evaluation and the figures below are of"
                " their first %s records",
                f"{self.head:,}",
            )
        report = self.report()
        kept = keep_report(report, self.folder)
        log.info("%s%s", report.summary(), f"\nin full: {kept}" if kept else "")

    def teardown(self, stage: str) -> None:
        """Log what training read, if that is not done yet."""
        if stage == "fit":
            self._training.end()

    def split(self, name: str) -> StoredSplit:
        """The stored proteins of `train`, `val`, `test` or `ood`."""
        _ = self.manifest  # prepares
        return self.origin.split(name)

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
        splits = {name: self.split(name) for name in SPLITS}
        return make_report(self.manifest, splits, self._batching)

    def train_dataloader(self) -> ResumableLoader | StreamLoader:
        """Batches of training, from where the checkpoint stopped."""
        self.prepare_data()
        return self._training.loader(self._rank())

    def val_dataloader(self) -> ResumableLoader:
        """Batches of the validation set, always the same."""
        return self._evaluation_loader("val")

    def test_dataloader(self) -> list[ResumableLoader]:
        """Batches of the test sets, in the order of `test_names`."""
        return [self._evaluation_loader(name) for name in self.test_names]

    def _evaluation_loader(self, name: str) -> ResumableLoader:
        return self._of_evaluation.loader(
            self.split(name), self._rank(), num_workers=self.num_workers
        )

    def _rank(self) -> Rank:
        if self.trainer is None:
            return Rank()
        # Lightning saves inside on_train_batch_end, before it counts the batch as completed;
        # `processed` already holds it, and never holds a batch that an exception broke off.
        # No reference to self: in a cycle, a loader's workers take seconds to end.
        progress = self.trainer.fit_loop.epoch_loop.batch_progress
        return Rank(
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
