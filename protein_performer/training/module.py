"""The training loop's view of a language model, unidirectional or bidirectional.

One module serves both: the objective (data) decides which positions are scored against what, and
the model's mechanism decides what a position may see. The two agree because both read the one
`objective.causal` of the config.

Shapes: B batch, L positions, N scored positions, V vocabulary.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import pytorch_lightning as pl
import torch.nn.functional as F
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from protein_performer.alphabet import Alphabet
from protein_performer.baselines import EmpiricalBaseline
from protein_performer.batch import IGNORE, Batch
from protein_performer.inference.checkpoint import DESCRIPTION_KEY
from protein_performer.metrics import ResidueMetrics
from protein_performer.model.transformer import ProteinTransformer
from protein_performer.training.ngram_baseline import NGramTest
from protein_performer.training.schedule import Factor, schedule_optimizer


class LanguageModel(pl.LightningModule):
    """Trains and tests a `ProteinTransformer`.

    Args:
        model: the network.
        alphabet: of its tokens.
        make_optimizer: from a module to its optimizer.
        schedule: optimizer step to the factor of the learning rate.
        test_names: the test sets, in the order of the datamodule's `test_dataloader`.
        description: plain types that `checkpoint.load_checkpoint` rebuilds the model from; stored
            in every checkpoint.

    Attributes:
        results: the newest value of every evaluation metric, at full precision (loggers round to
            float32).
        weights_step: optimizer steps behind the weights that were loaded last.
    """

    def __init__(
        self,
        model: ProteinTransformer,
        *,
        alphabet: Alphabet,
        make_optimizer: Callable[[nn.Module], Optimizer],
        schedule: Factor,
        test_names: Sequence[str],
        description: dict[str, Any],
    ) -> None:
        super().__init__()
        self.model = model
        self.alphabet = alphabet
        self.make_optimizer = make_optimizer
        self.schedule = schedule
        self.description = description
        self.results: dict[str, float | int] = {}
        self.weights_step = 0
        self.val_metrics = self._make_metrics()
        self.test_metrics = nn.ModuleDict({name: self._make_metrics() for name in test_names})
        self.ngram_test = NGramTest(alphabet, test_names)

    def _make_metrics(self) -> ResidueMetrics:
        return ResidueMetrics(len(self.alphabet), self.alphabet.first_letter, self.alphabet.unit)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Mean loss over the scored positions of all ranks' share of the global batch."""
        logits, targets = self.model.scored_logits(batch)
        nll = F.cross_entropy(logits.float(), targets, reduction="sum")
        # Gradients are averaged over ranks, whose shares hold different numbers of targets: with
        # the global mean number as divisor, two ranks take the step that one would.
        count = (targets != IGNORE).sum().float()
        loss: Tensor = nll / self.trainer.strategy.reduce(count, reduce_op="mean").clamp_min(1)
        self.log("train/loss", loss.detach(), prog_bar=True, sync_dist=True)
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Log the gradient's norm before clipping: the first place where trouble shows."""
        if self.trainer.global_step % self.trainer.log_every_n_steps == 0:
            gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
            self.log("train/gradient_norm", nn.utils.get_total_norm(gradients))

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Add the batch to the validation sums."""
        self.val_metrics.update(*self.model.scored_logits(batch))

    def on_validation_epoch_end(self) -> None:
        """Ratios of the sums: `val/perplexity` and its like."""
        self._log_metrics("val/", self.val_metrics)

    def on_test_start(self) -> None:
        """Count the n-grams of the training set."""
        self.ngram_test.count(self.trainer.datamodule.split("train"))

    def test_step(self, batch: Batch, batch_index: int, dataloader_idx: int = 0) -> None:
        """Add the batch to the sums of its test set."""
        name, metrics = self._test_metrics()[dataloader_idx]
        metrics.update(*self.model.scored_logits(batch))
        next_token = self.trainer.datamodule.objective.needs_causal
        self.ngram_test.add(name, batch, next_token=next_token)

    def on_test_epoch_end(self) -> None:
        """`test/...`, and `ood/...` if held out: model and baselines on the same targets."""
        baseline = EmpiricalBaseline(self.trainer.datamodule.residue_counts())
        for name, metrics in self._test_metrics():
            with metrics.sync_context():  # the targets of all ranks
                scores = baseline.score(metrics.target_counts)
            self._log_results(f"{name}/empirical_", scores)
            self._log_results(f"{name}/ngram_", self.ngram_test.results(name))
            self._log_metrics(f"{name}/", metrics)

    def _test_metrics(self) -> list[tuple[str, ResidueMetrics]]:
        return [(name, cast(ResidueMetrics, m)) for name, m in self.test_metrics.items()]

    def _log_metrics(self, section: str, metrics: ResidueMetrics) -> None:
        self._log_results(section, {k: v.item() for k, v in metrics.compute().items()})
        metrics.reset()

    def _log_results(self, section: str, values: Mapping[str, float | int]) -> None:
        for name, value in values.items():
            self.results[section + name] = value
            on_bar = section == "val/" and name == "perplexity"
            # The metrics are of all ranks already; without `sync_dist` Lightning warns.
            self.log(section + name, float(value), prog_bar=on_bar, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer, and its schedule stepped once an optimizer step."""
        optimizer = self.make_optimizer(self.model)
        self._rates = [group["lr"] for group in optimizer.param_groups]
        schedule = schedule_optimizer(optimizer, self.schedule)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step", "name": "rate"},
        }

    def on_train_start(self) -> None:
        """Take the rates of this run's config: a checkpoint brings those that it was saved with."""
        schedule = self.lr_schedulers()
        assert isinstance(schedule, LambdaLR)
        factor = self.schedule(schedule.last_epoch)
        schedule.base_lrs = list(self._rates)
        for group, rate in zip(schedule.optimizer.param_groups, self._rates, strict=True):
            group["initial_lr"], group["lr"] = rate, rate * factor

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note of which step the weights are: a test is of the best checkpoint, not the last."""
        self.weights_step = checkpoint["global_step"]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what a loader needs to rebuild the model without the config tree."""
        checkpoint[DESCRIPTION_KEY] = self.description
