"""Proteins for Lightning: prepared once, then batches as a function of (seed, epoch, step)."""

import logging
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from protein_performer.alphabet import Alphabet, ResiduePolicy
from protein_performer.data.books import recipe_for
from protein_performer.data.cache import prepared_folder
from protein_performer.data.collate import Batches
from protein_performer.data.contexts import Context, RowRule
from protein_performer.data.objectives import Objective
from protein_performer.data.order import BatchOrder, make_buckets
from protein_performer.data.prepare import prepare
from protein_performer.data.prepared import open_split, read_manifest
from protein_performer.data.proteins import Crop
from protein_performer.data.report import DataReport, make_report, padding_share
from protein_performer.data.rows import RowIndex, RowLayout
from protein_performer.data.sampler import BatchSampler, ResumableLoader
from protein_performer.data.shards import StoredSplit
from protein_performer.data.splits import SplitRule
from protein_performer.errors import UserError

log = logging.getLogger(__name__)


class ProteinDataModule(pl.LightningDataModule):
    """FASTA files to batches for training, validation, test and OOD.

    `prepare_data` writes the sources' prepared form into `cache_dir`, once. Training resumes on
    the next unseen batch: the position is in the checkpoint, and any number of ranks and workers
    goes on from it with the same global batches.

    Args:
        sources: FASTA or FASTA.gz files, or globs; of text, folders (see `books`).
        objective: what is asked of the model.
        splits: which protein belongs where; None for text, whose folders say so.
        alphabet, residue_policy: how residues, or the bytes of text, become tokens.
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
        splits: SplitRule | None,
        *,
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
        self.sources = [sources] if isinstance(sources, str) else list(sources)
        self.objective = objective
        self.alphabet = alphabet or Alphabet()
        self.residue_policy = residue_policy
        self.preparation = recipe_for(self.alphabet, residue_policy, splits)
        self.row_rule = RowRule(context, max_length, crop, clusters)
        self.batch_tokens = batch_tokens
        self.eval_batch_tokens = eval_batch_tokens or batch_tokens
        self.bucket_ratio = bucket_ratio
        self.seed = seed
        self.eval_seed = eval_seed
        self.num_workers = num_workers
        self.cache_dir = None if cache_dir is None else Path(cache_dir)
        self._start = (0, 0)  # (epoch, batch) to train from
        self._loading: ResumableLoader | None = None  # the training batches

    @cached_property
    def folder(self) -> Path:
        """The prepared folder."""
        return prepared_folder(self.sources, self.preparation, self.cache_dir)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What was read, dropped and written; prepares the data if that was not done."""
        self.prepare_data()
        return read_manifest(self.folder)

    def prepare_data(self) -> None:
        """Prepare the sources, unless a folder made from the same ones is there."""
        prepare(self.sources, self.folder, self.preparation, workers=self.num_workers)
        manifest = read_manifest(self.folder)
        for name in [name for name, split in manifest["splits"].items() if split["proteins"]]:
            self.row_rule.prepare(open_split(self.folder, manifest, name))

    @property
    def test_names(self) -> tuple[str, ...]:
        """The splits that `test_dataloader` goes through: `test`, and `ood` if one is held out."""
        return ("test", "ood") if self.preparation.holds_out else ("test",)

    def setup(self, stage: str) -> None:
        """Check that no split in use is empty, and say what there is."""
        wanted = {"fit": ("train", "valid"), "validate": ("valid",), "test": self.test_names}
        for name in wanted.get(stage, ()):
            if len(self.split(name)) == 0:
                raise UserError(
                    f"{', '.join(self.sources)}: the {name} split is empty."
                    f" {self.preparation.advice}"
                )
        if stage == "fit":
            self._start = (0, 0)
            if self.trainer is None or self.trainer.global_rank == 0:
                log.info("\n%s", self.report())

    def split(self, name: str) -> StoredSplit:
        """The stored proteins of `train`, `valid`, `test` or `ood`."""
        return open_split(self.folder, self.manifest, name)

    def residue_counts(self) -> Tensor:
        """(V,) int64, how often each token occurs in the training set; no special tokens."""
        return torch.tensor(self.manifest["splits"]["train"]["residue_counts"])

    @property
    def steps_per_epoch(self) -> int:
        """Global batches of an epoch of training, on any number of ranks."""
        return len(self.order("train"))

    def order(self, name: str) -> BatchOrder:
        """The batches of a split: shuffled in training, by length in evaluation."""
        training = name == "train"
        counts = self._rows(name)[1].length_counts
        buckets = make_buckets(
            counts,
            max_length=self.row_rule.max_length or len(counts),
            batch_tokens=self.batch_tokens if training else self.eval_batch_tokens,
            ratio=self.bucket_ratio,
        )
        return BatchOrder(buckets, self.seed if training else None)

    def _rows(self, name: str) -> tuple[RowLayout, RowIndex]:
        training = name == "train"
        seed = self.seed if training else self.eval_seed
        return self.row_rule.rows(self.split(name), seed=seed, evaluating=not training)

    def report(self) -> DataReport:
        """What was read, dropped and cut, and what each split holds."""
        orders = {
            name: self.order(name) for name, s in self.manifest["splits"].items() if s["proteins"]
        }
        lengths = {name: self.split(name).length_counts() for name in orders}
        padding = {
            name: padding_share(self._rows(name)[1].length_counts, order)
            for name, order in orders.items()
        }
        return make_report(
            self.manifest, lengths, orders, padding, self.row_rule.cuts_to, self.alphabet
        )

    def train_dataloader(self) -> ResumableLoader:
        """Batches of the training set, from where the checkpoint stopped."""
        self._loading = self._loader("train", self._start)
        return self._loading

    def val_dataloader(self) -> ResumableLoader:
        """Batches of the validation set, always the same."""
        return self._loader("valid")

    def test_dataloader(self) -> list[ResumableLoader]:
        """Batches of the test sets, in the order of `test_names`."""
        return [self._loader(name) for name in self.test_names]

    def _loader(self, name: str, start: tuple[int, int] = (0, 0)) -> ResumableLoader:
        rows, index = self._rows(name)
        sampler = BatchSampler(
            self.order(name),
            index.at,
            rank=self.trainer.global_rank if self.trainer else 0,
            num_ranks=self.trainer.world_size if self.trainer else 1,
            start=start,
            count_processed=self._processed_counter(),
        )
        return ResumableLoader(
            Batches(rows, self.alphabet, self.objective),
            batch_size=None,  # the sampler's items are whole batches
            sampler=sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )

    def _processed_counter(self) -> Callable[[], int]:
        """How many batches the trainer has trained on."""
        if self.trainer is None:
            return lambda: 0
        # Lightning saves inside on_train_batch_end, before it counts the batch as completed;
        # `processed` already holds it, and never holds a batch that an exception broke off.
        # No reference to self: in a cycle, a loader's workers take seconds to end.
        progress = self.trainer.fit_loop.epoch_loop.batch_progress
        return lambda: progress.total.processed

    def state_dict(self) -> dict[str, Any]:
        """The next batch to train on, and what makes the batches what they are."""
        epoch, batch = self._start if self._loading is None else self._loading.position()
        if self.trainer is not None and batch >= self.trainer.num_training_batches:
            epoch, batch = epoch + 1, 0
        return {"epoch": epoch, "batch": batch, "identity": self._identity()}

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
        self._start = (state_dict["epoch"], state_dict["batch"])

    def _identity(self) -> dict[str, Any]:
        return {
            "content": self.manifest["content"],
            **self.row_rule.identity(),
            "batch_tokens": self.batch_tokens,
            "bucket_ratio": self.bucket_ratio,
            "seed": self.seed,
        }
