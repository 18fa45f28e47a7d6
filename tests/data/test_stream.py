"""Batches of a stream: which, in which order, on any ranks and workers, and resumed."""

import gzip
import io
from itertools import islice

import numpy as np
import pytest
import torch
from loopback import Site, serve
from made_up import data_module, rows, write_clusters
from streams import BUFFER, COUNT, arrive_in_small_pieces, stream

from protein_performer.alphabet import Alphabet
from protein_performer.data.objectives import MaskedResidues


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    arrive_in_small_pieces(monkeypatch)


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_an_epoch_shows_what_an_epoch_of_shards_shows(tmp_path):
    """Each training protein once, with the same window and masks, in batches within the budget."""
    batches = list(stream(tmp_path).train_dataloader())
    found = rows(batches)
    assert found == rows(stream(tmp_path, mode="shards").train_dataloader())
    assert sorted(found) == list(range(len(found)))
    assert len(found) > 250
    assert all(batch.mask.numel() <= 1500 for batch in batches)
    places = sum(batch.mask.numel() for batch in batches)
    assert sum(int(batch.mask.sum()) for batch in batches) > 0.85 * places


@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_and_workers_share_the_batches_of_one_process(tmp_path, workers):
    whole = list(stream(tmp_path).train_dataloader())
    for world_size in (1, 2):
        shares = [
            list(
                stream(
                    tmp_path, rank=rank, world_size=world_size, num_workers=workers
                ).train_dataloader()
            )
            for rank in range(world_size)
        ]
        for batch, *parts in zip(whole, *shares, strict=True):
            assert rows(parts) == rows([batch])
            sizes = [len(part.records) for part in parts]
            assert max(sizes) - min(sizes) <= 1


def test_epochs_and_seeds_differ_and_only_the_order_does_within_a_buffer(tmp_path):
    loader = stream(tmp_path).train_dataloader()
    first, second = list(loader), list(loader)
    other = list(stream(tmp_path, seed=1).train_dataloader())
    orders = [[batch.records.tolist() for batch in each] for each in (first, second, other)]
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]
    assert rows(first).keys() == rows(second).keys() == rows(other).keys()
    assert rows(first) != rows(second)
    members = [
        sorted(i for batch in order for i in batch if max(batch) < BUFFER) for order in orders
    ]
    assert members == [list(range(BUFFER))] * 3


def test_any_batch_is_resumed_bit_for_bit_by_other_ranks_and_workers(tmp_path):
    """From what the checkpoint holds, across buffers and the end of an epoch."""
    module = stream(tmp_path)
    loader, seen, states = module.train_dataloader(), [], [module.state_dict()]
    for limit in (None, 3):  # an epoch, and a little of the next
        for batch in islice(loader, limit):
            seen.append(batch)
            states.append(module.state_dict())
    buffers = [(state["epoch"], state["begin"]["buffer"]) for state in states]
    assert sorted(set(buffers)) == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert len({state["begin"]["place"][1] for state in states}) == 3
    for number, batch in enumerate(seen):
        file = io.BytesIO()
        torch.save(states[number], file)
        state = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
        resumed = stream(tmp_path, num_workers=2 if number % 16 == 7 else 0)
        resumed.load_state_dict(state)
        assert resumed.state_dict() == state
        loader = resumed.train_dataloader()
        for later, expected in zip(islice(loader, 3), seen[number:], strict=False):
            assert same(later, expected)
        parts = []
        for rank in (0, 1):
            resumed = stream(tmp_path, rank=rank, world_size=2)
            resumed.load_state_dict(state)
            parts.append(next(iter(resumed.train_dataloader())))
        assert rows(parts) == rows([batch])


def test_an_address_is_streamed_like_a_file(tmp_path):
    expected = list(stream(tmp_path).train_dataloader())
    content = gzip.compress((tmp_path / "proteins.fasta").read_bytes())
    with serve(Site(files={"/proteins.fasta.gz": content})) as site:
        for workers in (0, 2):
            module = stream(
                tmp_path,
                sources=[f"{site.url}/proteins.fasta.gz"],
                num_workers=workers,
                cache_dir=tmp_path / "cache",
            )
            found = list(module.train_dataloader())
            assert all(map(same, found, expected))
            assert len(found) == len(expected)
    assert {asked for asked, _ in site.asked} == {"/proteins.fasta.gz"}


def test_joined_proteins_fill_the_rows_and_each_stands_there_once(tmp_path):
    options = {"context": "concat", "crop": None, "max_length": 301}
    module = stream(tmp_path, **options, objective=MaskedResidues(select=1e-4))
    module.objective.select = 0
    found = rows(module.train_dataloader())
    blocks = {}
    for record in sorted(found):
        blocks.setdefault(record >> 32, []).append(found[record][0][1:])
    assert sorted(blocks) == list(range(len(blocks)))
    stored = stream(tmp_path, mode="shards").split("train")
    expected = [stored.residues(index).tolist() for index in range(len(stored))]
    eos, seen = Alphabet.eos, []
    for rows_of_one in blocks.values():
        assert {len(row) for row in rows_of_one[:-1]} == {300}
        tokens = np.concatenate(rows_of_one)
        ends = np.flatnonzero(tokens == eos)
        assert ends[-1] == len(tokens) - 1
        seen.append([each[:-1].tolist() for each in np.split(tokens, ends + 1)[:-1]])
    assert sorted(seen[0]) == sorted(expected[:BUFFER])
    assert seen[0] != expected[:BUFFER]
    assert sorted(protein for each in seen for protein in each) == sorted(expected)


def test_the_evaluation_sets_are_those_of_a_file_with_the_head_alone(tmp_path):
    module = stream(tmp_path, head=300)
    lines = (tmp_path / "proteins.fasta").read_text().splitlines(keepends=True)
    (tmp_path / "head").mkdir()
    (tmp_path / "head" / "proteins.fasta").write_text("".join(lines[:600]))
    write_clusters(tmp_path / "head" / "clusters.tsv", COUNT)
    alone = data_module(tmp_path / "head", mode="shards", max_length=150)
    assert module.manifest["content"] == alone.manifest["content"]
    assert module.manifest["read"]["records"] == 300
    assert torch.equal(module.residue_counts(), alone.residue_counts())
    assert rows(module.val_dataloader()) == rows(alone.val_dataloader())
    assert stream(tmp_path, mode="shards").folder != module.folder
    assert stream(tmp_path, head=301).folder != module.folder
