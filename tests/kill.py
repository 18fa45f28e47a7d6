"""Kill -9 at random moments, for real: minutes, not seconds, so this is no part of the suite.

  python tests/kill.py prepare PROTEINS.fasta.gz --times 5
  python tests/kill.py train --times 5
  python tests/kill.py ranks --times 3 data.mode=stream

`prepare` and `train` start the program, kill it at a random moment, and start it again until it has
ended, over and over until `--times` kills were dealt: shards, batches and weights must be those of
an uninterrupted run, bit for bit. `ranks` kills one process without workers, and goes on as two
ranks with two workers each: the batches must be the same, losses and weights the same but for
rounding. More arguments of `train` and `ranks` are overrides of the run. All print what they
compared as they go, and exit with 1 where anything differs.
"""

import argparse
import csv
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path

import pytorch_lightning as pl
import torch

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    "OMP_NUM_THREADS": "1",
}

# The verb itself, but that bundles are small, and each is committed.
PREPARE = """
import sys
from functools import partial
from protein_performer.cli import main
from protein_performer.commands import prepare as command
from protein_performer.data.preparing import tokenizer
if __name__ == "__main__":
    tokenizer._BUNDLE = 1 << 18
    command.prepare = partial(command.prepare, commit_seconds=0)
    sys.exit(main(["prepare", *sys.argv[1:]]))
"""

STEPS = 40
TRAIN = (
    *("size=tiny", "logger=csv", f"trainer.max_steps={STEPS}", "trainer.max_time=null"),
    *("trainer.accelerator=cpu", "trainer.log_every_n_steps=1", "model.redraw_every=3"),
    *("trainer.val_check_interval=10", "trainer.enable_progress_bar=false"),
    *("callbacks.progress=null", "callbacks.checkpoint.every_n_train_steps=3"),
    *("data.max_length=128", "data.batch_tokens=2048"),
    "+callbacks.digests={_target_: kill.WriteDigests, path: '${run_dir}/digests'}",
)
TWO_RANKS = ("trainer=ddp", "trainer.devices=2", "data.num_workers=2")
# (loss, root mean square of weights): the most that sums in another order may change them. 1.6e-4
# and 1.1e-4 were measured where one process sees the rows of each batch in reverse, since Adam
# divides by small gradients; 2.8e-3 and 3.5e-4 where the learning rate is wrong by 1 %.
ROUNDING = (1e-3, 2e-4)

LONGEST = 600  # seconds of one start of the program; then it hangs


class WriteDigests(pl.Callback):
    """Appends `step ranks digest` for every training batch: a sum over rows, as ranks add up."""

    def __init__(self, path):
        self.path = path

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        total = 0
        for inputs, targets, mask, _ in zip(*batch, strict=True):
            content = torch.stack([inputs[mask], targets[mask]]).cpu().numpy().tobytes()
            total += int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")
        with open(f"{self.path}.{trainer.global_rank}", "a") as file:
            file.write(f"{trainer.global_step} {trainer.world_size} {total}\n")


def read_digests(run_dir):
    """{step: digest of its global batch}, and how many steps were taken more than once."""
    by_rank = defaultdict(set)  # of a step that was taken again, one digest if all is well
    taken = Counter()
    for path in sorted(run_dir.glob("digests.*")):
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):  # else a kill came in the middle of it
                step, ranks, digest = map(int, line.split())
                by_rank[step, ranks, path.suffix].add(digest)
                taken[step] += path.suffix == ".0"
    sums = defaultdict(int)
    for (step, ranks, _), (digest,) in by_rank.items():
        sums[step, ranks] += digest
    steps = defaultdict(set)
    for (step, _), digest in sums.items():
        steps[step].add(digest)
    return {step: digest for step, (digest,) in steps.items()}, sum(n > 1 for n in taken.values())


def start(command, log):
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # with its ranks and workers it is one group
    )


def end_of(process, log):
    """Its exit code; a process that hangs is ended, with its ranks."""
    try:
        return process.wait(LONGEST)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        os.killpg(process.pid, signal.SIGKILL)
        give_up(f"interrupted, or no end within {LONGEST} s", log)


def give_up(what, log):
    last = Path(log.name).read_text().splitlines()[-15:]
    sys.exit("\n".join([f"{what}: the last lines of {log.name} are", *last]))


def run(command, log, begun=lambda: True):
    """Run to the end; seconds from when `begun()` first holds."""
    process = start(command, log)
    while process.poll() is None and not begun():
        time.sleep(0.01)
    first = time.monotonic()
    if (code := end_of(process, log)) != 0:
        give_up(f"exit code {code}", log)
    return time.monotonic() - first


def kill_once(command, log, begun, seconds):
    """Kill -9 up to so many seconds after `begun()`; whether that came before the end."""
    process = start(command, log)
    while process.poll() is None and not begun():
        time.sleep(0.01)
    try:
        process.wait(random.uniform(0, seconds))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    code = process.wait()
    if code not in (0, -signal.SIGKILL):
        give_up(f"exit code {code}", log)
    return code != 0


def files_of(folder):
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def kill_prepare(scratch, log, times, source):
    def command(out):
        return [sys.executable, "-c", PREPARE, str(Path(source).resolve()), str(out)]

    def begun(out):
        return lambda: out.with_name(f".{out.name}.partial").exists() or out.exists()

    whole = scratch / "whole"
    seconds = run(command(whole), log, begun(whole))
    print(f"uninterrupted: {seconds:.1f} s from the first byte to the last")
    kills, folders = 0, 0
    while kills < times:
        out, before = scratch / f"killed{folders}", kills
        while kill_once(command(out), log, begun(out), seconds):
            kills += 1
        folders += 1
        same = files_of(out) == files_of(whole)
        left = [path.name for path in scratch.glob(f".{out.name}.*") if path.suffix != ".lock"]
        print(f"folder {folders}: {kills - before} kills, same bytes: {same}, left over: {left}")
        if not same or left:
            return False
    print(f"{kills} kills, {folders} folders, all the same")
    return True


def train_command(run_dir, *options):
    return [
        *(sys.executable, "train.py", *TRAIN, f"data.cache_dir={run_dir.parent / 'cache'}"),
        *(f"hydra.run.dir={run_dir}", "ckpt_path=auto", *options),
    ]


def stepped(run_dir, steps):
    """A function that tells whether this start of the program has taken so many steps."""
    path = run_dir / "digests.0"

    def taken():
        return path.read_bytes().count(b"\n") if path.is_file() else 0

    before = taken()
    return lambda: taken() >= before + steps


def checkpoint(run_dir, name="last"):
    return torch.load(run_dir / "checkpoints" / f"{name}.ckpt", weights_only=True)


def curve(run_dir, name):
    """{step: value} of a curve, of all that was taken."""
    with open(run_dir / "metrics.csv") as file:
        return {int(r["step"]): float(r[name]) for r in csv.DictReader(file) if r.get(name)}


def distance(one, other):
    """Root mean square, over all weights, of the change."""
    assert one.keys() == other.keys()
    squares = [(one[name].double() - other[name].double()).square().flatten() for name in one]
    return torch.cat(squares).mean().sqrt().item()


def same_run(run_dir, whole, allowed):
    """Compare each step's global batch, each logged loss, and the last weights; print it."""
    (steps, again), (expected, _) = read_digests(run_dir), read_digests(whole)
    same = steps == expected and sorted(steps) == list(range(STEPS))
    ends = [checkpoint(each) for each in (run_dir, whole)]
    same &= all(end["global_step"] == STEPS for end in ends)
    weights = distance(*(end["state_dict"] for end in ends))
    best = distance(*(checkpoint(each, "best")["state_dict"] for each in (run_dir, whole)))
    same &= curve(run_dir, "val/loss").keys() == curve(whole, "val/loss").keys()
    ours, theirs = (curve(each, "train/loss") for each in (run_dir, whole))
    loss = max(abs(value - theirs[step]) for step, value in ours.items())
    print(
        f"  {len(steps)} of {STEPS} global batches, {again} of them taken again: same: {same};"
        f" {len(ours)} losses differ by up to {loss:.1e}, last and best weights by"
        f" {weights:.1e} and {best:.1e} (root mean square); allowed: {allowed}"
    )
    return same and loss <= allowed[0] and max(weights, best) <= allowed[1]


def kill_training(scratch, log, times, overrides, resumed_with=()):
    whole = scratch / "whole"
    print(
        f"uninterrupted: {run(train_command(whole, *overrides), log):.0f} s, one rank, no workers"
    )
    kills, runs, alike = 0, 0, True
    while kills < times and alike:
        run_dir, before = scratch / f"killed{runs}", kills
        command = partial(train_command, run_dir, *overrides)
        while kill_once(command(), log, stepped(run_dir, random.randint(1, STEPS // 2)), 0.3):
            kills += 1
            if resumed_with:
                run(command(*resumed_with), log)
                break
        runs += 1
        goes_on = " ".join(resumed_with) or "as before"
        print(f"run {runs}: {kills - before} kill(s), each followed by a start {goes_on}")
        alike = same_run(run_dir, whole, ROUNDING if resumed_with else (0, 0))
    print(f"{kills} kills, {runs} runs, all the same: {alike}")
    return alike


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("prepare", "train", "ranks"))
    parser.add_argument("more", nargs="*", help="a source to prepare, or overrides of the run")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_intermixed_args()
    sys.stdout.reconfigure(line_buffering=True)
    random.seed(args.seed)
    scratch = Path(tempfile.mkdtemp(prefix="kill-"))
    print(f"in {scratch}")
    with open(scratch / "log", "w") as log:
        if args.what == "prepare":
            source = args.more[0] if args.more else ROOT / "data" / "trembl_sample.fasta.gz"
            alike = kill_prepare(scratch, log, args.times, source)
        else:
            resumed_with = TWO_RANKS if args.what == "ranks" else ()
            alike = kill_training(scratch, log, args.times, args.more, resumed_with)
    return 0 if alike else 1


if __name__ == "__main__":
    sys.exit(main())
