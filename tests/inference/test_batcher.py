import numpy as np
import pytest
import torch

from protein_performer.alphabet import Alphabet
from protein_performer.errors import UserError
from protein_performer.inference.batcher import in_batches, pad

LENGTHS = np.random.default_rng(0).integers(1, 300, 200).tolist()


def test_batches_hold_to_the_budget_and_results_come_in_order():
    batches = []

    def compute(batch):
        batches.append(batch)
        return [10 * i for i in batch]

    assert in_batches(LENGTHS, compute, budget=1000) == [10 * i for i in range(200)]
    assert len(batches) < 80
    for batch in batches:
        assert len(batch) * (max(LENGTHS[i] for i in batch) + 2) <= 1000 or len(batch) == 1
    assert in_batches([], compute) == []


class Memory:
    """A device that holds so many places of a padded batch."""

    def __init__(self, places, error):
        self.places, self.error, self.batches = places, error, []

    def compute(self, batch):
        if len(batch) * (max(LENGTHS[i] for i in batch) + 2) > self.places:
            raise self.error
        self.batches.append(batch)
        return batch


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost(error, caplog):
    memory = Memory(700, error)
    assert in_batches(LENGTHS, memory.compute, budget=5000) == list(range(200))
    # The budget stays at what fitted: three attempts too many, not one for each batch.
    assert sum("going on with at most" in message for message in caplog.messages) == 3


def test_what_does_not_fit_alone_is_named_or_left_to_the_caller():
    memory = Memory(200, ERRORS[0])
    first = LENGTHS.index(max(LENGTHS))
    with pytest.raises(UserError, match=f"sequence {first}: {max(LENGTHS)} residues do not fit"):
        in_batches(LENGTHS, memory.compute, budget=5000)
    results = in_batches(LENGTHS, memory.compute, budget=5000, on_failure=lambda i: -1)
    assert results == [i if length + 2 <= 200 else -1 for i, length in enumerate(LENGTHS)]


def test_other_errors_are_not_taken_for_memory():
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        in_batches(LENGTHS, Memory(0, RuntimeError("mat1 and mat2 shapes")).compute)


def test_rows_are_as_in_training():
    codes = [Alphabet().encode("MK"), Alphabet().encode("ACD")]
    rows = pad(codes, ends=True, device=torch.device("cpu"))
    assert rows.tokens.tolist() == [[1, 14, 12, 2, 0], [1, 4, 5, 6, 2]]
    assert rows.mask.tolist() == [[True] * 4 + [False], [True] * 5]
    assert [x.tolist() for x in rows.of_residues(rows.tokens)] == [[14, 12], [4, 5, 6]]
    causal = pad(codes[:1], ends=False, device=torch.device("cpu"))
    assert causal.tokens.tolist() == [[1, 14, 12]]
    assert causal.mask is None
