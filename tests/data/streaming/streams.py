"""Made-up proteins that are trained on as they are read."""

import random
from types import SimpleNamespace

from data.made_up import STANDARD, data_module, write_clusters, write_fasta

from protein_performer.data.preparing import tokenizer
from protein_performer.data.reading import sources, text_blocks

COUNT, BUFFER = 400, 90


def arrive_in_small_pieces(monkeypatch):
    """Text comes in many pieces, as that of a large file does."""
    monkeypatch.setattr(sources, "CHUNK", 2_000)
    monkeypatch.setattr(text_blocks, "_AT_LEAST", 1_500)
    monkeypatch.setattr(tokenizer, "_BUNDLE", 4_000)


def distinct(count, *, shortest=20, longest=200, seed=0):
    lots = random.Random(seed)
    lengths = [lots.randint(shortest, longest) for _ in range(count)]
    return ["".join(lots.choices(STANDARD, k=length)) for length in lengths]


def stream(folder, *, count=COUNT, rank=None, world_size=1, **options):
    """A data module that streams made-up proteins, perhaps on one of several ranks."""
    if not (folder / "proteins.fasta").exists():
        write_fasta(folder / "proteins.fasta", distinct(count))
        write_clusters(folder / "clusters.tsv", count)
    defaults = {"mode": "stream", "buffer": BUFFER, "head": count, "max_length": 150}
    module = data_module(folder, **defaults | options)
    if rank is not None:
        progress = SimpleNamespace(total=SimpleNamespace(processed=0))
        loops = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress))
        module.trainer = SimpleNamespace(global_rank=rank, world_size=world_size, fit_loop=loops)
    return module
