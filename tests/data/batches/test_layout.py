"""Rows are laid out as the plain way lays them out, and batches are what they have always been."""

from hashlib import sha256

import numpy as np
import pytest
from runs import CLUSTERS, SAMPLE

from protein_performer.alphabet import Alphabet
from protein_performer.data.batches.homologs import HomologRows
from protein_performer.data.batches.layout import Piece, lay_out_pieces
from protein_performer.data.batches.proteins import lay_out
from protein_performer.data.datamodule import ProteinDataModule
from protein_performer.data.objectives import MaskedResidues, NextToken
from protein_performer.data.randomness import hash64
from protein_performer.data.splits import SplitRule

PAD, BOS, EOS = Alphabet.pad, Alphabet.bos, Alphabet.eos


def padded(rows):
    widest = max(map(len, rows))
    return [row + [PAD] * (widest - len(row)) for row in rows]


class Proteins(list):
    def residues(self, index):
        return self[index]


def proteins(lots, count):
    return Proteins(lots.integers(4, 30, n, np.uint8) for n in lots.integers(1, 40, count))


@pytest.mark.parametrize("seed", range(20))
def test_windows_are_laid_out_as_in_the_plain_way(seed):
    lots = np.random.default_rng(seed)
    given, longest = proteins(lots, 12), int(lots.integers(1, 45))
    starts = np.array([lots.integers(max(len(each) - longest, 0) + 1) for each in given])
    expected = []
    for each, start in zip(given, starts, strict=True):
        window = each[start : start + longest].tolist()
        end = [EOS] if start + len(window) == len(each) else []
        expected.append([BOS, *window, *end])
    assert lay_out(given, starts, longest).tolist() == padded(expected)


@pytest.mark.parametrize("seed", range(20))
def test_pieces_are_laid_out_as_in_the_plain_way(seed):
    lots = np.random.default_rng(seed)
    given = proteins(lots, 12)
    rows, expected = [], []
    for _ in range(5):
        row, tokens = [], [BOS]
        for protein in lots.integers(12, size=lots.integers(1, 5)).tolist():
            whole = [*given[protein].tolist(), EOS]
            begin = int(lots.integers(len(whole)))
            end = int(lots.integers(begin + 1, len(whole) + 1))
            row.append(Piece(protein, begin, end))
            tokens += whole[begin:end]
        rows.append(row)
        expected.append(tokens)
    assert lay_out_pieces(rows, given).tolist() == padded(expected)


def homolog_row(layout, row, epoch):
    """The plain way: join the members in the order of their hashes, cut out the row's block."""
    cluster, block = row >> 20, row & (2**20 - 1)
    begin, end = layout.clusters["begins"][cluster : cluster + 2].tolist()
    members = layout.clusters["members"][begin:end]
    order = np.argsort(hash64(layout.seed, epoch, 2, cluster, np.arange(len(members))))
    joined = []
    for member in members[order].tolist():
        joined += [*layout.split.residues(member).tolist(), EOS]
    return [BOS, *joined[block * layout.row_tokens : (block + 1) * layout.row_tokens]]


def sample_module(folder, **options):
    rule = SplitRule(val=0.0125, test=0.025, ood=0.03, clusters=str(CLUSTERS))
    objective = options.pop("objective", MaskedResidues())
    return ProteinDataModule(
        [str(SAMPLE)], objective, rule, cache_dir=folder, batch_tokens=8192, **options
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("prepared")


HOMOLOGS = {"context": "homologs", "max_length": 2048, "crop": None, "clusters": str(CLUSTERS)}


@pytest.mark.parametrize("epoch", [0, 3])
def test_homologs_are_laid_out_as_in_the_plain_way(folder, epoch):
    data = sample_module(folder, **HOMOLOGS)
    data.prepare_data()
    loader = data.train_dataloader()
    layout = loader.dataset.batches.rows
    assert isinstance(layout, HomologRows)
    loader.sampler.set_epoch(0)
    loader.sampler.set_epoch(epoch)
    blocks = set()
    for key, _ in zip(loader.sampler, range(40), strict=False):
        expected = [homolog_row(layout, row, epoch) for row in key.records.tolist()]
        assert layout(key)[0].tolist() == padded(expected)
        blocks |= {row & (2**20 - 1) for row in key.records.tolist()}
    assert len(blocks) > 3


def digest(data):
    """Of some batches of two epochs of training and of validation, in every bit."""
    total = sha256()
    training = data.train_dataloader()
    for epoch in (0, 1):
        training.sampler.set_epoch(epoch)
        for batch, _ in zip(training, range(50), strict=False):
            add(total, batch)
    for batch in data.val_dataloader():
        add(total, batch)
    return total.hexdigest()[:16]


def add(total, batch):
    for tensor in batch:
        total.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.numpy().astype(tensor.numpy().dtype.newbyteorder("<")).tobytes())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "a06c1b3d36aac3d2"),
        ({"crop": "start", "max_length": 200}, "c54e988e68e85268"),
        ({"crop": "all", "max_length": 256, "objective": NextToken()}, "b8d3db8a87966330"),
        ({"objective": MaskedResidues(0.3, 0.1, 0.8, evaluate_hidden=False)}, "c77ad8fadf2ade03"),
        (HOMOLOGS, "b1fef7268c6ac4c0"),
    ],
    ids=["masked", "start", "windows, next token", "authors' shares", "homologs"],
)
def test_batches_are_what_they_have_always_been(folder, options, expected):
    """A checkpoint's run goes on in the same batches; whoever changes this ends that."""
    data = sample_module(folder, **options)
    data.prepare_data()
    assert digest(data) == expected
