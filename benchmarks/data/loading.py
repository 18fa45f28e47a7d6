"""What is timed between finished shards and a training step; each runs in a process of its own."""

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from benchmarks.data.reading import SPLITS
from protein_performer.batch import Batch
from protein_performer.data.datamodule import ProteinDataModule
from protein_performer.data.objectives import MaskedResidues
from protein_performer.model.build import build_model
from protein_performer.model.config import ModelConfig
from protein_performer.model.transformer import ProteinTransformer

SINGLE, CONCATENATED = "single proteins", "concatenated task"
CONTEXTS: dict[str, dict[str, Any]] = {  # as data=trembl and data=concat have them
    SINGLE: {"context": "protein", "max_length": 1024, "crop": "window"},
    CONCATENATED: {"context": "concat", "max_length": 8192, "crop": None},
}
BATCH_TOKENS = 16384
RUN_TOKENS = 4096  # of a batch of the default run
# The default run's model: conf/model/performer_relu.yaml, conf/size/small.yaml.
RUN_MODEL = {
    "attention": {
        "_target_": "protein_performer.attention.favor.favor.Favor",
        "feature_map": "relu",
        "num_features": 64,
        "projection": "orthogonal",
    },
    "d_model": 128,
    "num_layers": 2,
    "num_heads": 4,
    "d_ff": 512,
    "convolution": 5,
    "positions": "rotary",
    "causal": False,
}
_WARM_UP = 20  # batches, not timed
_STEP_SECONDS = 30  # in which training steps begin, on a machine that is too busy for all


class Taken(NamedTuple):
    """Some batches, made one after another."""

    sequences: int
    seconds: float
    cpu_seconds: float


def data_module(
    source: Path, cache: Path, context: str = SINGLE, batch_tokens: int = BATCH_TOKENS
) -> ProteinDataModule:
    """As a run has it: masked residues, batches made in the training process."""
    return ProteinDataModule(
        [str(source)],
        MaskedResidues(),
        SPLITS,
        batch_tokens=batch_tokens,
        eval_batch_tokens=BATCH_TOKENS,
        cache_dir=cache,
        **CONTEXTS[context],
    )


def prepared_at(source: Path, cache: Path) -> Path:
    """The folder where `data_module` looks for what is prepared."""
    return data_module(source, cache).folder


def go_through(source: Path, cache: Path, batches: int) -> int:
    """So many training batches, each thrown away, for the memory that they take; sequences."""
    return sum(len(batch.inputs) for batch in _endless(data_module(source, cache), batches))


def take_in_turns(source: Path, cache: Path, batches: int, rounds: int) -> dict[str, list[Taken]]:
    """Time training batches of each context, and of the default run's size, round after round."""
    torch.set_num_threads(1)
    loaders = {
        f"{context}, {tokens} tokens": _endless(data_module(source, cache, context, tokens))
        for context, tokens in (
            (SINGLE, BATCH_TOKENS),
            (SINGLE, RUN_TOKENS),
            (CONCATENATED, BATCH_TOKENS),
        )
    }
    taken: dict[str, list[Taken]] = {name: [] for name in loaders}
    for loader in loaders.values():
        _take(loader, _WARM_UP)
    for _ in range(rounds):
        for name, loader in loaders.items():
            taken[name].append(_take(loader, batches))
    return taken


def padding(source: Path, cache: Path, batches: int) -> dict[str, float]:
    """Each context's share of places without a token, in an epoch's first batches."""
    shares = {}
    for context in CONTEXTS:
        places = tokens = 0
        for batch in islice(data_module(source, cache, context).train_dataloader(), batches):
            places += batch.mask.numel()
            tokens += int(batch.mask.sum())
        shares[context] = 1 - tokens / places
    return shares


def loader_and_step_seconds(
    source: Path, cache: Path, steps: int, threads: int
) -> list[tuple[float, float]]:
    """Seconds of each batch and of the training step on it, for the default run's model."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    data = data_module(source, cache, batch_tokens=RUN_TOKENS)
    model = build_model(ModelConfig.from_plain(RUN_MODEL), len(data.alphabet))
    optimizer = torch.optim.AdamW(model.parameters())
    loader = _endless(data)
    seconds: list[tuple[float, float]] = []
    end = time.monotonic() + _STEP_SECONDS
    while len(seconds) <= steps and (len(seconds) < 2 or time.monotonic() < end):
        start = time.perf_counter()
        batch = next(loader)
        made = time.perf_counter()
        _train_on(batch, model, optimizer)
        seconds.append((made - start, time.perf_counter() - made))
    return seconds[1:]  # the first one warms up


def _train_on(batch: Batch, model: ProteinTransformer, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    F.cross_entropy(*model.scored_logits(batch)).backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _endless(data: ProteinDataModule, batches: int | None = None) -> Iterator[Batch]:
    """Training batches, epoch after epoch."""

    def epochs() -> Iterator[Batch]:
        loader = data.train_dataloader()
        while True:
            yield from loader

    return islice(epochs(), batches)


def _take(loader: Iterator[Batch], batches: int) -> Taken:
    start, cpu_start = time.perf_counter(), time.process_time()
    sequences = sum(len(batch.inputs) for batch in islice(loader, batches))
    return Taken(sequences, time.perf_counter() - start, time.process_time() - cpu_start)
