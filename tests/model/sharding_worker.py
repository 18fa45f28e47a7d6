"""What each of several processes does in `test_wrapping`, where they can import it."""

import torch
import torch.distributed as dist
from tiny import RELU, tiny_config
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from protein_performer.batch import IGNORE, Batch
from protein_performer.model.build import build_model
from protein_performer.model.config import ModelConfig

RANKS = 2
STEPS = 2


def make_model(causal=False):
    torch.manual_seed(0)
    objective = "causal" if causal else "mlm"
    config = tiny_config(objective, RELU, convolution=3)["model"]
    return build_model(ModelConfig.from_plain(config), 30)


def share(step, rank):
    """A batch with 20 targets on every rank, so that a mean of means is the mean."""
    generator = torch.Generator().manual_seed(RANKS * step + rank)
    tokens = torch.randint(4, 24, (2, 20), generator=generator)
    targets = tokens.clone()
    targets[:, 10:] = IGNORE
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[0, 15:] = False
    return Batch(tokens, targets, mask, tokens[:, 0])


def loss_of(logits, targets):
    return torch.nn.functional.cross_entropy(logits, targets, ignore_index=IGNORE)


def train_rank(rank, store, wrapping, results):
    """Some steps of AdamW on this rank's share; rank 0 leaves the weights in the file `results`."""
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=RANKS)
    try:
        torch.save(_weights(wrapping, rank), f"{results}.{rank}")
    finally:
        dist.destroy_process_group()


def _weights(wrapping, rank):
    model = make_model()
    if wrapping == "ddp":
        wrapped = DistributedDataParallel(model)
    else:
        for block in model.blocks:
            fully_shard(block)
        wrapped = fully_shard(model)
        register_fsdp_forward_method(model, "scored_logits")
    optimizer = torch.optim.AdamW(wrapped.parameters(), lr=1e-2)
    for step in range(STEPS):
        batch = share(step, rank)
        optimizer.zero_grad()
        if wrapping == "ddp":
            logits = wrapped(batch.inputs, batch.mask).flatten(0, 1)
            loss_of(logits, batch.targets.flatten()).backward()
        else:
            loss_of(*wrapped.scored_logits(batch)).backward()
        optimizer.step()
    return {name: _whole(p).detach().clone() for name, p in model.named_parameters()}


def _whole(parameter):
    return parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
