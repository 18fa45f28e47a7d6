"""Batches of a stream: which, in which order, on any ranks and workers, and resumed."""

import gzip
import io
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from data.loopback import Site, serve
from data.made_up import data_module, rows, write_clusters, write_fasta
from data.streaming.streams import BUFFER, COUNT, arrive_in_small_pieces, distinct, stream

from protein_performer.alphabet import Alphabet
from protein_performer.data.objectives import MaskedResidues
from protein_performer.data.reading import sources
from protein_performer.data.splits import SplitRule
from protein_performer.errors import UserError

# More than a small machine has cores.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create .* worker processes")


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
    starts = [state["lanes"][0]["buffer"] for state in states]
    buffers = [(state["epoch"], each["number"]) for state, each in zip(states, starts, strict=True)]
    assert sorted(set(buffers)) == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert len({start["place"][1] for start in starts}) == 3
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


FILES = (90, 5, 244, 1, 60)  # records; the last but one is held out


def several(folder, **options):
    """A data module that streams the proteins of several files of unequal length."""
    proteins, first, paths = distinct(COUNT), 0, []
    for number, count in enumerate(FILES):
        path = folder / f"part{number}.fasta"
        here = proteins[first : first + count]
        path.write_text("".join(f">tr|P{first + i}|\n{each}\n" for i, each in enumerate(here)))
        paths.append(str(path))
        first += count
    write_clusters(folder / "clusters.tsv", COUNT)
    write_fasta(folder / "proteins.fasta", proteins)
    clusters = folder / "ood.tsv"
    clusters.write_text("C\tP339\nC\tP7\n")
    rule = SplitRule(val=0.1, test=0.1, ood=1.0, clusters=str(clusters))
    return stream(folder, sources=paths, splits=rule, buffer=40, **options)


@pytest.mark.parametrize("workers", [2, 3, 5, 9])
def test_files_are_shared_out_over_workers_and_change_no_batch(tmp_path, workers):
    whole = list(several(tmp_path).train_dataloader())
    shares = [
        list(
            several(
                tmp_path, rank=rank, world_size=world_size, num_workers=workers
            ).train_dataloader()
        )
        for world_size in (1, 2)
        for rank in range(world_size)
    ]
    assert len({len(batches) for batches in [whole, *shares]}) == 1
    for batch, same_batch, *parts in zip(whole, *shares, strict=True):
        assert same(batch, same_batch)
        assert rows(parts) == rows([batch])


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_no_byte_is_read_by_two_workers(tmp_path, monkeypatch, workers):
    opened = tmp_path / "opened"
    read = sources._read_file

    def noted(name):
        with opened.open("a") as file:
            file.write(f"{name}\n")
        return read(name)

    module = several(tmp_path, num_workers=workers)
    loader = module.train_dataloader()
    monkeypatch.setattr(sources, "_read_file", noted)
    shown = sum(len(batch.records) for batch in loader)
    assert shown > 250
    assert sorted(opened.read_text().split()) == [
        str(tmp_path / f"part{n}.fasta") for n in range(len(FILES))
    ]


def test_several_files_are_resumed_at_any_batch(tmp_path):
    module = several(tmp_path)
    loader, seen, states = module.train_dataloader(), [], [module.state_dict()]
    for limit in (None, None, 3):
        for batch in islice(loader, limit):
            seen.append(batch)
            states.append(module.state_dict())
    assert {state["epoch"] for state in states} == {0, 1, 2}
    for number in range(0, len(seen), 3):
        resumed = several(tmp_path, num_workers=3 if number % 12 == 9 else 0)
        resumed.load_state_dict(states[number])
        assert resumed.state_dict() == states[number]
        loader = resumed.train_dataloader()
        later = [batch for batch, _ in zip(loader, range(4), strict=False)]
        assert all(map(same, later, seen[number:]))
    epoch = next(n for n, state in enumerate(states) if state["epoch"] == 1)
    for first in (seen[:epoch], seen[epoch : 2 * epoch]):
        counts = Counter(i for batch in first for i in batch.records.tolist())
        assert set(counts.values()) == {1}
        assert len(counts) == len(rows(several(tmp_path, mode="shards").train_dataloader()))


def test_what_several_files_hold_is_logged_as_one(tmp_path, caplog):
    caplog.set_level("INFO")
    list(several(tmp_path, num_workers=2).train_dataloader())
    assert caplog.text.count("read to the end, epoch 1:") == 1
    assert f"\n{sum(FILES):,} records, " in caplog.text


def test_a_place_of_an_earlier_version_is_refused(tmp_path):
    module = stream(tmp_path)
    old = {"epoch": 0, "begin": {}, "batch": 0, "identity": module.state_dict()["identity"]}
    with pytest.raises(UserError, match="place in a stream is of an earlier version"):
        module.load_state_dict(old)


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
