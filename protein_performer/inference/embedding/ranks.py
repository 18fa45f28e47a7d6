"""Processes that share one job without talking to each other: which of them this one is."""

import os
from typing import NamedTuple

import torch


class Rank(NamedTuple):
    """One of the processes that were started for the same command.

    Attributes:
        rank, num_ranks: which one, of how many on all machines.
        local_rank: which one on this machine: the number of its GPU.
    """

    rank: int = 0
    num_ranks: int = 1
    local_rank: int = 0


def own_gpu(rank: Rank) -> str | None:
    """The device of a process that shares a machine's GPUs with others; None without GPUs."""
    return f"cuda:{rank.local_rank}" if torch.cuda.is_available() else None


def rank_from_environment() -> Rank:
    """As torchrun or SLURM's srun says; the only one where neither started this process.

    A SLURM batch script that starts the command without srun is the only one, too: of what SLURM
    sets for a whole job nothing is read.
    """
    for rank, size, local in (
        ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
        ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
    ):
        if rank in os.environ and size in os.environ:
            return Rank(
                int(os.environ[rank]), int(os.environ[size]), int(os.environ.get(local, "0"))
            )
    return Rank()
