"""The trunk inside what large trainings wrap around it: DDP, FSDP, activation checkpointing."""

from functools import partial

import pytest
import torch
from sharding_worker import RANKS, STEPS, loss_of, make_model, share, train_rank
from torch.utils.checkpoint import checkpoint


@pytest.fixture(scope="module")
def alone():
    """The weights after the same steps of one process on all ranks' shares."""
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(STEPS):
        optimizer.zero_grad()
        for rank in range(RANKS):
            (loss_of(*model.scored_logits(share(step, rank))) / RANKS).backward()
        optimizer.step()
    return {name: p.detach() for name, p in model.named_parameters()}


@pytest.mark.parametrize("wrapping", ["ddp", "fsdp"])
def test_two_ranks_take_the_steps_of_one(tmp_path, alone, wrapping):
    results = tmp_path / "weights"
    torch.multiprocessing.spawn(
        train_rank, (str(tmp_path / "store"), wrapping, str(results)), nprocs=RANKS
    )
    start = dict(make_model().named_parameters())
    for rank in range(RANKS):
        weights = torch.load(f"{results}.{rank}", weights_only=True)
        assert weights.keys() == alone.keys()
        for name, expected in alone.items():
            torch.testing.assert_close(weights[name], expected, rtol=1e-4, atol=1e-5)
    assert any((alone[name] - start[name]).abs().max() > 1e-3 for name in alone)


@pytest.mark.parametrize("causal", [False, True])
def test_checkpointed_activations_give_the_same_gradients(causal):
    plain, saving = make_model(causal), make_model(causal)
    for block in saving.blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    for model in (plain, saving):
        loss_of(*model.scored_logits(share(0, 0))).backward()
    for p, q in zip(plain.parameters(), saving.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad)
    assert any(p.grad.abs().max() > 0 for p in plain.blocks.parameters())
