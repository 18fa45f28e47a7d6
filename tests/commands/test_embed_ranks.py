"""`protein-performer embed` in two real processes, as torchrun and as SLURM's srun start them."""

import os
import signal
import subprocess
import sys
import time

import pytest
from tiny import RELU, tiny_config, write_checkpoint

from protein_performer import cli

PROTEINS = 6_000  # six chunks, three for each process
EMBED = ["-m", "protein_performer", "embed"]


@pytest.fixture
def arguments(tmp_path):
    """The command without its output, which one process has written to alone.safetensors."""
    write_checkpoint(tmp_path / "a.ckpt", tiny_config(attention=RELU))
    letters = "ACDEFGHIKLMNPQRSTVWY"
    (tmp_path / "a.fasta").write_text(
        "".join(f">p{i}\n{letters[i % 20] * (1 + i % 7)}\n" for i in range(PROTEINS))
    )
    given = [str(tmp_path / "a.ckpt"), str(tmp_path / "a.fasta"), "--device", "cpu"]
    assert cli.main(["embed", *given, str(tmp_path / "alone.safetensors")]) == 0
    return given


@pytest.fixture
def environment():
    """This one, without what a launcher has set."""
    ours = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "GROUP_WORLD_SIZE")
    return {k: v for k, v in os.environ.items() if k not in ours and not k.startswith("SLURM_")}


def rank_of_slurm(environment, rank):
    """What srun sets for two tasks on two machines."""
    return environment | {
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": "0",
        "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_NNODES": "2",
        "SLURM_STEP_NUM_NODES": "2",
    }


def same(folder):
    files = (folder / "alone.safetensors", folder / "out.safetensors")
    return files[0].read_bytes() == files[1].read_bytes()


def test_two_processes_of_torchrun_write_what_one_writes(tmp_path, arguments, environment):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += [*EMBED, *arguments, str(tmp_path / "out.safetensors"), "--devices", "2"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout.count("rank ") == 1
    )  # one of them has written, the other says that it is done
    assert f"{PROTEINS:,} proteins" in done.stdout
    assert same(tmp_path)
    assert not list(tmp_path.glob("*.parts"))


def test_a_killed_rank_of_slurm_goes_on_when_the_command_is_given_again(
    tmp_path, arguments, environment
):
    out = tmp_path / "out.safetensors"
    command = [sys.executable, *EMBED, *arguments, str(out), "--num-nodes", "2", "--devices", "1"]

    def start(rank):
        return subprocess.Popen(
            command, env=rank_of_slurm(environment, rank), stdout=subprocess.PIPE, text=True
        )

    survivor, victim = start(0), start(1)
    while not (tmp_path / "out.safetensors.parts" / "00000001.npz").exists():
        assert victim.poll() is None
        time.sleep(0.001)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    told, _ = survivor.communicate()
    assert survivor.returncode == 0
    assert f"rank 0 of 2: its share is done; {out} is written once all shares are" in told
    assert not out.exists()

    again = start(1)
    told, _ = again.communicate()
    assert again.returncode == 0
    assert f"{PROTEINS:,} proteins" in told
    assert same(tmp_path)

    late = start(0)  # its share was done, and now all is
    told, _ = late.communicate()
    assert late.returncode == 0
    assert f"{out} is there" in told
    assert same(tmp_path)
    assert not list(tmp_path.glob("*.parts"))


def test_ranks_that_were_not_asked_for_are_an_error(tmp_path, arguments, monkeypatch, capsys):
    for name, value in rank_of_slurm({}, 0).items():
        monkeypatch.setenv(name, value)
    out = str(tmp_path / "out.safetensors")
    assert cli.main(["embed", *arguments, out, "--devices", "4"]) == 1
    assert "srun started 2 processes, not 4 on each of 2 machines" in capsys.readouterr().err
