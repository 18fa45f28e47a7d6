"""Workers of a run that was killed with signal 9 end by themselves."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from runs import ROOT, SMALL, write_proteins

FOREVER = (
    *("trainer.max_steps=1000000", "trainer.max_time=null", "schedule=constant"),
    *("trainer.val_check_interval=1000000", "data.num_workers=2", "data.batch_tokens=65536"),
    "+logger.csv.flush_logs_every_n_steps=1",
)


def children(pid):
    """Processes whose parent is this one, from /proc (or ps, where there is none)."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    pairs = [map(int, line.split()) for line in listed.stdout.splitlines()]
    return [child for child, parent in pairs if parent == pid]


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")


@pytest.mark.parametrize("mode", [(), ("data.mode=stream", "data.buffer=64")], ids=str)
def test_after_kill_9(tmp_path, mode):
    fasta = write_proteins(tmp_path)
    command = [sys.executable, "train.py", *SMALL, *FOREVER, *mode, f"data.sources=[{fasta}]"]
    process = subprocess.Popen(
        [*command, f"hydra.run.dir={tmp_path / 'run'}"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and not (tmp_path / "run" / "metrics.csv").is_file():
        time.sleep(0.05)
    workers = children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert workers
    patience = time.monotonic() + 30
    while any(map(alive, workers)) and time.monotonic() < patience:
        time.sleep(0.1)
    left = [pid for pid in workers if alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left
