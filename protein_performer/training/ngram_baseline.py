"""The test sets as n-grams of the training set see them: what a model must beat, too."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from protein_performer.alphabet import Alphabet
from protein_performer.batch import Batch
from protein_performer.data.shards import StoredSplit
from protein_performer.inference.evaluation.training_ngrams import count_split, log_probabilities
from protein_performer.metrics import ResidueMetrics
from protein_performer.ngram import NGrams, longest_order


class NGramTest(nn.Module):
    """Sums of every order on every test set, which add over batches and ranks.

    Args:
        alphabet: of the tokens.
        test_names: of the test sets.
    """

    def __init__(self, alphabet: Alphabet, test_names: Sequence[str]) -> None:
        super().__init__()
        self.alphabet = alphabet
        self.ngrams: NGrams | None = None
        orders = range(longest_order(len(alphabet.letters)))
        self.sums = nn.ModuleDict(
            {
                name: nn.ModuleList(
                    ResidueMetrics(len(alphabet), alphabet.first_letter, alphabet.unit)
                    for _ in orders
                )
                for name in test_names
            }
        )

    def count(self, train: StoredSplit) -> None:
        """Count the training set; before any batch."""
        self.ngrams = count_split(train, self.alphabet)

    def add(self, name: str, batch: Batch, *, next_token: bool) -> None:
        """Add a batch of a test set.

        Args:
            batch: on any device.
            next_token: whether column i is scored against token i + 1.
        """
        assert self.ngrams is not None  # see `count`
        on_cpu = Batch(*(each.cpu() for each in batch))
        targets = on_cpu.targets[on_cpu.targets >= self.alphabet.first_letter]
        log_p = log_probabilities(self.ngrams, on_cpu, next_token=next_token)
        for metrics, of_letters in zip(self._of(name), log_p, strict=True):
            logits = torch.full((len(targets), len(self.alphabet)), -math.inf)
            logits[:, self.alphabet.first_letter :] = torch.from_numpy(of_letters)
            metrics.update(logits.to(metrics.device), targets.to(metrics.device))

    def results(self, name: str) -> dict[str, float | int]:
        """`accuracy` and `perplexity` of the order that is best on this set, and the `order`.

        Choosing it there favours the baseline. The sums begin anew.
        """
        found = []
        for order, metrics in enumerate(self._of(name), start=1):
            figures: dict[str, Tensor] = metrics.compute()
            found.append((figures["perplexity"].item(), figures["accuracy"].item(), order))
            metrics.reset()
        perplexity, accuracy, order = min(found)
        return {"accuracy": accuracy, "perplexity": perplexity, "order": order}

    def _of(self, name: str) -> Iterable[ResidueMetrics]:
        of_orders = self.sums[name]
        assert isinstance(of_orders, nn.ModuleList)
        for metrics in of_orders:
            assert isinstance(metrics, ResidueMetrics)
            yield metrics
