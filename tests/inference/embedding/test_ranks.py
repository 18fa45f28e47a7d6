"""Which process this is, by the variables of launchers, and whether that is what was asked for."""

import os

import pytest

from protein_performer.errors import UserError
from protein_performer.inference.embedding.ranks import Rank, check_ranks, rank_from_environment

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "GROUP_WORLD_SIZE": "2"}
SRUN = {
    "SLURM_PROCID": "2",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_LOCALID": "0",
    "SLURM_NTASKS": "8",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_NNODES": "3",
}
BATCH = {"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_NNODES": "2"}  # a script, no srun


@pytest.fixture
def started_with(monkeypatch):
    for name in list(os.environ):
        if name.startswith("SLURM_") or name in TORCHRUN:
            monkeypatch.delenv(name)

    def start(environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    return start


@pytest.mark.parametrize(
    ("environment", "rank"),
    [({}, Rank(0, 1, 0)), (TORCHRUN, Rank(3, 8, 1)), (SRUN, Rank(2, 8, 0)), (BATCH, Rank(0, 1, 0))],
)
def test_ranks_are_those_of_torchrun_and_srun(started_with, environment, rank):
    started_with(environment)
    assert rank_from_environment() == rank


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"RANK": "one"}, "RANK: expected a number, got 'one'"),
        ({"RANK": "8"}, "RANK=8: expected less than WORLD_SIZE=8"),
    ],
)
def test_variables_that_cannot_be_are_named(started_with, change, message):
    started_with(TORCHRUN | change)
    with pytest.raises(UserError, match=message):
        rank_from_environment()


@pytest.mark.parametrize("environment", [TORCHRUN, SRUN])
@pytest.mark.parametrize("asked", [(None, None), (4, 2), (4, None), (None, 2)])
def test_what_was_started_as_asked_is_taken(started_with, environment, asked):
    started_with(environment)
    check_ranks(rank_from_environment(), *asked)


@pytest.mark.parametrize(
    ("environment", "asked", "message"),
    [
        (TORCHRUN, (8, 2), "devices=8: torchrun started 8 processes, not 8 on each of 2 machines"),
        (SRUN, (2, None), "devices=2: srun started 8 processes, not 2 on each of 2 machines"),
        (SRUN, (None, 4), "num_nodes=4: srun started 8 processes on 2 machines"),
        ({}, (4, 2), "no launcher .* srun --ntasks-per-node=4 .* torchrun --nnodes=2 --nproc-per-"),
        (BATCH, (None, 2), "num_nodes=2: no launcher started this process"),
    ],
)
def test_what_was_started_otherwise_is_an_error(started_with, environment, asked, message):
    started_with(environment)
    with pytest.raises(UserError, match=message):
        check_ranks(rank_from_environment(), *asked)


@pytest.mark.parametrize("asked", [(None, None), (4, 1), (1, None)])
def test_one_machine_needs_no_launcher(started_with, asked):
    started_with({})
    check_ranks(rank_from_environment(), *asked)
