"""Processes that share one job without talking to each other: which of them this one is."""

import os
from typing import NamedTuple

import torch

from protein_performer.errors import UserError


class Rank(NamedTuple):
    """One of the processes that were started for the same command.

    Attributes:
        rank, num_ranks: which one, of how many on all machines.
        local_rank: which one on this machine: the number of its GPU.
    """

    rank: int = 0
    num_ranks: int = 1
    local_rank: int = 0


class Launcher(NamedTuple):
    """What starts processes, and the variables by which it tells each of them which one it is."""

    name: str
    rank: str
    num_ranks: str
    local_rank: str
    num_nodes: tuple[str, ...]


# Of what SLURM sets for a whole job, and not for a step of it, nothing is read but the number of
# machines: a batch script that starts the command without srun is one process.
LAUNCHERS = (
    Launcher("torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK", ("GROUP_WORLD_SIZE",)),
    Launcher(
        "srun",
        "SLURM_PROCID",
        "SLURM_STEP_NUM_TASKS",
        "SLURM_LOCALID",
        ("SLURM_STEP_NUM_NODES", "SLURM_NNODES"),
    ),
)


def own_gpu(rank: Rank) -> str | None:
    """The device of a process that shares a machine's GPUs with others; None without GPUs."""
    return f"cuda:{rank.local_rank}" if torch.cuda.is_available() else None


def rank_from_environment() -> Rank:
    """As torchrun or SLURM's srun says; the only one where neither started this process.

    Raises: UserError where what they say cannot be.
    """
    launcher = _launcher()
    if launcher is None:
        return Rank()
    rank = Rank(
        _number(launcher.rank),
        _number(launcher.num_ranks),
        _number(launcher.local_rank) if launcher.local_rank in os.environ else 0,
    )
    if not 0 <= rank.rank < rank.num_ranks:
        raise UserError(
            f"{launcher.rank}={rank.rank}: expected less than {launcher.num_ranks}={rank.num_ranks}"
        )
    return rank


def check_ranks(rank: Rank, devices: int | None, num_nodes: int | None) -> None:
    """Raise UserError unless the processes are those that the user asked for.

    Args:
        rank: of this one.
        devices: on each machine; None for as many as there are.
        num_nodes: machines; None for as many as there are.
    """
    launcher = _launcher()
    if launcher is None:
        if (num_nodes or 1) > 1:
            raise UserError(_how_to_start(devices or 1, num_nodes or 1))
        return
    started = f"{launcher.name} started {rank.num_ranks} processes"
    nodes = next((_number(each) for each in launcher.num_nodes if each in os.environ), None)
    if num_nodes is not None and nodes is not None and nodes != num_nodes:
        raise UserError(f"num_nodes={num_nodes}: {started} on {nodes} machines")
    machines = num_nodes or nodes or 1
    if devices is not None and devices * machines != rank.num_ranks:
        raise UserError(
            f"devices={devices}: {started}, not {devices} on each of {machines} machines. Leave"
            " --devices out, or start as many."
        )


def _launcher() -> Launcher | None:
    return next(
        (each for each in LAUNCHERS if each.rank in os.environ and each.num_ranks in os.environ),
        None,
    )


def _number(variable: str) -> int:
    try:
        return int(os.environ[variable])
    except ValueError:
        raise UserError(
            f"{variable}: expected a number, got {os.environ[variable]!r} in the environment"
        ) from None


def _how_to_start(devices: int, num_nodes: int) -> str:
    return (
        f"num_nodes={num_nodes}: no launcher started this process, and it can start others on its"
        f" own machine only. In a SLURM job of {num_nodes} machines: srun"
        f" --ntasks-per-node={devices} protein-performer embed ...; elsewhere, on each machine:"
        f" torchrun --nnodes={num_nodes} --nproc-per-node={devices} --rdzv-backend=c10d"
        " --rdzv-endpoint=FIRST_MACHINE:29500 -m protein_performer embed ..., with a folder for OUT"
        " that all of them see."
    )
