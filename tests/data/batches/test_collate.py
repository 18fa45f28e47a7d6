"""What goes between processes."""

import pickle
from multiprocessing.reduction import ForkingPickler

import torch

from protein_performer.batch import Batch
from protein_performer.data.batches import collate


def test_a_batch_goes_between_processes_as_bytes():
    """Not as tensors in files of shared memory, whose making costs more than the batch's."""
    batch = Batch(
        inputs=torch.tensor([[1, 5, 2]]),
        targets=torch.tensor([[-100, 5, -100]]),
        mask=torch.tensor([[True, True, False]]),
        records=torch.tensor([7]),
    )
    assert collate.Batch is Batch
    sent = bytes(ForkingPickler.dumps(batch))
    assert b"torch.multiprocessing" not in sent
    received = pickle.loads(sent)
    assert isinstance(received, Batch)
    for name, expected in batch._asdict().items():
        found = getattr(received, name)
        assert found.dtype == expected.dtype, name
        assert torch.equal(found, expected), name
        found.zero_()  # the trainer may write into it
