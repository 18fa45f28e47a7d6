import math

import pytest
import torch

from protein_performer.alphabet import Alphabet
from protein_performer.metrics import ResidueMetrics

V, FIRST = len(Alphabet()), Alphabet.first_letter


def make_metrics():
    return ResidueMetrics(V, FIRST)


def random_scores(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, V, generator=generator)
    targets = torch.randint(FIRST, V, (n,), generator=generator)
    return logits, targets


def test_uniform_logits_have_a_perplexity_of_the_vocabulary_size():
    metrics = make_metrics()
    metrics.update(torch.zeros(7, V), torch.arange(FIRST, FIRST + 7))
    assert metrics.compute()["perplexity"].item() == pytest.approx(V, rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_perplexity_is_of_the_sums_whatever_the_batching(batch_size):
    logits, targets = random_scores(64)
    logits[:5] *= 10  # a mean of batch perplexities would differ
    metrics = make_metrics()
    for rows, wanted in zip(logits.split(batch_size), targets.split(batch_size), strict=True):
        metrics.update(rows, wanted)
    nll = -torch.log_softmax(logits.double(), -1)[torch.arange(64), targets]
    values = metrics.compute()
    assert values["perplexity"].item() == pytest.approx(math.exp(nll.mean()), rel=1e-6)
    assert values["accuracy"].item() == (logits.argmax(-1) == targets).double().mean()
    assert values["residues"].item() == 64


def test_special_tokens_are_not_scored():
    logits, targets = random_scores(8)
    with_specials, without = make_metrics(), make_metrics()
    specials = torch.tensor([Alphabet.bos, Alphabet.eos, Alphabet.pad, Alphabet.mask])
    with_specials.update(torch.cat([logits, torch.randn(4, V)]), torch.cat([targets, specials]))
    without.update(logits, targets)
    assert with_specials.compute() == without.compute()


def test_confusion_has_true_residues_in_rows():
    metrics = make_metrics()
    logits = torch.zeros(2, V)
    logits[:, 9] = 5.0
    metrics.update(logits, torch.tensor([4, 9]))
    assert metrics.confusion[4, 9] == 1
    assert metrics.confusion[9, 9] == 1
    assert metrics.target_counts.nonzero().flatten().tolist() == [4, 9]
