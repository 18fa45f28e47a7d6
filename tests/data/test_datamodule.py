"""The data module: what its loaders hand over, whatever the ranks, workers and batch size."""

import errno
import gzip
import logging
import os
import pickle
import tempfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from data.made_up import data_module, rows, sequences, write_fasta

from protein_performer.alphabet import Alphabet
from protein_performer.batch import IGNORE
from protein_performer.data.batches.order import BatchOrder, Bucket
from protein_performer.data.batches.sampler import BatchKey, BatchSampler
from protein_performer.data.objectives import MaskedResidues, NextToken
from protein_performer.data.splits import SplitRule
from protein_performer.errors import UserError

PROTEIN = Alphabet()


def on_rank(module, rank, world_size):
    """Let a data module believe that it is one of several processes."""
    loops = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=None))
    module.trainer = SimpleNamespace(global_rank=rank, world_size=world_size, fit_loop=loops)
    return module


def test_a_batch_is_right_padded_int64_and_its_mask_marks_tokens(tmp_path):
    for batch in data_module(tmp_path).train_dataloader():
        assert batch.inputs.dtype == batch.targets.dtype == batch.records.dtype == torch.int64
        assert batch.mask.dtype == torch.bool
        assert torch.equal(batch.mask, batch.inputs != PROTEIN.pad)
        assert (batch.inputs[:, 0] == PROTEIN.bos).all()
        assert (batch.targets[~batch.mask] == IGNORE).all()
        assert batch.mask.any(0).all()  # no column of padding alone
        assert not (batch.mask[:, 1:] & ~batch.mask[:, :-1]).any()
        assert batch.mask.numel() <= 1500


@pytest.mark.parametrize("objective", [MaskedResidues(), NextToken()])
def test_each_loader_shows_each_protein_of_its_split_once(tmp_path, objective):
    module = data_module(tmp_path, objective=objective)
    loaders = [module.train_dataloader(), module.val_dataloader(), *module.test_dataloader()]
    for name, loader in zip(["train", "val", "test", "ood"], loaders, strict=True):
        split = module.split(name)
        assert sorted(rows(loader)) == sorted(split.by_length().tolist())
        assert len(split) > 10


def test_steps_per_epoch_is_the_number_of_batches(tmp_path):
    module = data_module(tmp_path)
    assert (
        module.steps_per_epoch
        == len(module.train_dataloader())
        == len(list(module.train_dataloader()))
    )


@pytest.mark.parametrize("objective", [MaskedResidues(), NextToken()])
def test_two_ranks_share_the_batches_of_one(tmp_path, objective):
    whole = list(data_module(tmp_path, objective=objective).train_dataloader())
    shares = [
        list(on_rank(data_module(tmp_path, objective=objective), rank, 2).train_dataloader())
        for rank in (0, 1)
    ]
    assert len(shares[0]) == len(shares[1]) == len(whole)
    for batch, *parts in zip(whole, *shares, strict=True):
        assert rows(parts) == rows([batch])
        assert abs(len(parts[0].records) - len(parts[1].records)) <= 1


def test_more_ranks_than_a_batch_has_proteins_are_refused(tmp_path):
    module = on_rank(data_module(tmp_path), 0, 64)
    with pytest.raises(UserError, match="64 ranks cannot share"):
        module.train_dataloader()


def test_workers_make_the_batches_that_the_process_itself_would(tmp_path):
    alone = list(data_module(tmp_path).train_dataloader())
    with_workers = list(data_module(tmp_path, num_workers=2).train_dataloader())
    assert len(alone) == len(with_workers)
    for one, other in zip(alone, with_workers, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_batches_pickle_without_their_maps(tmp_path):
    """Where workers are spawned and not forked."""
    batches = data_module(tmp_path).train_dataloader().dataset
    key = BatchKey(0, np.array([0, 1]))
    expected = batches[key]
    assert len(pickle.dumps(batches)) < 10_000
    assert all(
        torch.equal(a, b)
        for a, b in zip(pickle.loads(pickle.dumps(batches))[key], expected, strict=True)
    )


def test_epochs_differ_in_order_windows_and_masks(tmp_path):
    loader = data_module(tmp_path, max_length=50).train_dataloader()
    first = rows(loader)
    order = [batch.records.tolist() for batch in loader]
    loader.sampler.set_epoch(0)
    assert rows(loader) == first
    loader.sampler.set_epoch(1)
    assert [batch.records.tolist() for batch in loader] != order
    second = rows(loader)
    assert first.keys() == second.keys()
    assert sum(first[record] != second[record] for record in first) > 0.9 * len(first)


def test_training_depends_on_the_seed_and_evaluation_does_not(tmp_path):
    one, other = data_module(tmp_path, seed=1), data_module(tmp_path, seed=2)
    assert rows(one.train_dataloader()) != rows(other.train_dataloader())
    assert rows(one.val_dataloader()) == rows(other.val_dataloader())
    third = data_module(tmp_path, seed=1, eval_seed=5)
    assert rows(one.val_dataloader()) != rows(third.val_dataloader())


def test_evaluation_asks_the_same_whatever_the_batch_size_and_the_file(tmp_path):
    """Keyed by content: batch size, order in the file and accessions change nothing."""
    questions = []
    proteins = sequences(200)
    rule = SplitRule(val=0.3, test=0.3)
    for number, budget in enumerate([1500, 300]):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_fasta(folder / "proteins.fasta", proteins[:: 1 - 2 * number], prefix=f"X{number}")
        module = data_module(folder, splits=rule, eval_batch_tokens=budget)
        assert module.test_names == ("test",)
        (loader,) = module.test_dataloader()
        questions.append(sorted(rows(loader).values()))
    assert questions[0] == questions[1]
    assert len(questions[0]) > 30


def test_every_window_of_a_long_protein_occurs_in_training_and_only_the_start_in_evaluation(
    tmp_path,
):
    write_fasta(tmp_path / "proteins.fasta", ["ACDEFGHIKL", *sequences(40, longest=5, seed=2)])
    rule = SplitRule(val=0.01, test=0.01)
    module = data_module(tmp_path, splits=rule, max_length=7, objective=NextToken())
    loader = module.train_dataloader()
    long = next(
        i
        for i in module.split("train").by_length().tolist()
        if len(module.split("train").residues(i)) == 10
    )
    seen = set()
    for epoch in range(60):
        batch = loader.dataset[BatchKey(epoch, np.array([long]))]
        shown = PROTEIN.decode(batch.inputs[0, 1:].numpy())
        ends = int(batch.targets[0, -1]) == PROTEIN.eos
        assert ends == (shown == "EFGHIKL")
        seen.add(shown)
    assert seen == {"ACDEFGH", "CDEFGHI", "DEFGHIK", "EFGHIKL"}
    module = data_module(tmp_path, splits=rule, max_length=7, objective=NextToken(), crop="start")
    start = module.train_dataloader().dataset[BatchKey(3, np.array([long]))]
    assert PROTEIN.decode(start.inputs[0, 1:].numpy()) == "ACDEFGH"


def test_without_max_length_nothing_is_cut(tmp_path):
    module = data_module(tmp_path, max_length=None)
    lengths = {len(inputs) - 2 for inputs, _ in rows(module.train_dataloader()).values()}
    assert max(lengths) == len(module.split("train").length_counts()) - 1
    assert all(split.cut_proteins == 0 for split in module.report().batches.values())


def test_residue_counts_are_those_of_the_training_set(tmp_path):
    module = data_module(tmp_path)
    counts = module.residue_counts()
    tokens = np.concatenate(list(module.split("train")))
    assert counts.dtype == torch.int64
    assert counts.tolist() == np.bincount(tokens, minlength=len(PROTEIN)).tolist()
    assert counts[: PROTEIN.first_letter].sum() == 0


def test_the_data_are_prepared_once_and_anew_when_source_or_config_change(tmp_path):
    module = data_module(tmp_path)
    module.prepare_data()
    folder = module.folder
    assert folder.parent == tmp_path / "prepared"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    data_module(tmp_path).prepare_data()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert data_module(tmp_path, residue_policy="skip").folder != folder
    assert data_module(tmp_path, max_length=5, batch_tokens=99, seed=3).folder == folder
    write_fasta(tmp_path / "proteins.fasta", sequences(400, seed=9))
    assert data_module(tmp_path).folder != folder


def test_the_cache_folder_can_be_elsewhere(tmp_path):
    module = data_module(tmp_path, cache_dir=tmp_path / "elsewhere")
    module.prepare_data()
    assert module.folder.parent == tmp_path / "elsewhere"
    assert not (tmp_path / "prepared").exists()


def test_a_cache_folder_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"training: data.cache_dir"):
        data_module(tmp_path, cache_dir=tmp_path / "file" / "cache").prepare_data()


def test_sources_are_asked_for(tmp_path):
    module = data_module(tmp_path, sources=[])
    with pytest.raises(UserError, match="at least one file"):
        module.prepare_data()


def test_a_truncated_source_is_an_error_and_leaves_no_prepared_folder(tmp_path):
    path = tmp_path / "cut.fasta.gz"
    text = "".join(f">P{i}\n{each}\n" for i, each in enumerate(sequences(2_000)))
    path.write_bytes(gzip.compress(text.encode())[:-5_000])
    module = data_module(tmp_path, sources=str(path))
    with pytest.raises(UserError, match="truncated"):
        module.prepare_data()
    assert [path.suffix for path in (tmp_path / "prepared").iterdir()] == [".lock"]


def test_the_report_adds_up(tmp_path):
    proteins = sequences(300)
    write_fasta(tmp_path / "proteins.fasta", [*proteins, *proteins[:10], proteins[0].lower()])
    module = data_module(tmp_path, splits=SplitRule(val=0.1, test=0.1), max_length=150)
    report = module.report()
    folder, splits = report.folder, report.folder.splits.values()
    kept = sum(split.lengths.proteins for split in splits if split.lengths)
    assert kept == len(set(proteins)) == folder.all.lengths.proteins
    assert folder.read["records"] == 311 == kept + sum(split.duplicates for split in splits)
    assert folder.all.lower_case == len(proteins[0])
    cut = [len(each) - 150 for each in set(proteins) if len(each) > 150]
    assert sum(split.cut_proteins for split in report.batches.values()) == len(cut)
    assert sum(split.cut_residues for split in report.batches.values()) == sum(cut)
    masks = [batch.mask for batch in module.train_dataloader()]
    tokens, places = sum(int(m.sum()) for m in masks), sum(m.numel() for m in masks)
    assert 1 - tokens / places <= report.batches["train"].padding_share < 0.2
    assert "311 records" in str(report)
    assert report.plain()["folder"]["all"]["lengths"]["proteins"] == kept


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 0}, "data.max_length: expected"),
        ({"bucket_ratio": 1.0}, "data.bucket_ratio: expected"),
        ({"crop": "middle"}, "data.crop: expected"),
        ({"seed": -1}, "seeds of at least 0"),
    ],
)
def test_impossible_options_are_refused(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        data_module(tmp_path, **options)


def test_an_empty_split_is_refused_at_setup(tmp_path):
    module = data_module(tmp_path, splits=SplitRule(val=0.0, test=0.1))
    module.setup("test")
    with pytest.raises(UserError, match="the val split is empty"):
        module.setup("fit")


def test_a_budget_below_the_longest_protein_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"data.batch_tokens: expected at least"):
        data_module(tmp_path, batch_tokens=100).setup("fit")


def test_the_smallest_batch_bounds_the_ranks():
    order = BatchOrder([Bucket(0, 9, 3, 5)], seed=0)
    BatchSampler(order, np.arange(9).take, world_size=3)
    with pytest.raises(UserError, match="holds 3 row"):
        BatchSampler(order, np.arange(9).take, world_size=4)


def test_the_log_has_a_few_lines_and_the_folder_the_report(tmp_path, caplog):
    module = data_module(tmp_path, max_length=150)
    with caplog.at_level(logging.INFO):
        module.setup("fit")
    (told,) = [each.getMessage() for each in caplog.records if "records read" in each.getMessage()]
    path = module.folder / "report.txt"
    assert len(told.splitlines()) <= 6
    assert f"in full: {path}" in told
    assert str(module.report().folder) in path.read_text()
    counted = module.report().batches["train"]
    assert f"in {counted.batches:,} batches" in told
    assert f"{counted.cut_proteins:,} cut by {counted.cut_residues:,} residues" in told


def test_a_prepared_folder_may_be_there_to_be_read_only(tmp_path, monkeypatch):
    folder = data_module(tmp_path).folder
    data_module(tmp_path).prepare_data()

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse)
    data_module(tmp_path, sources=None, splits=None, prepared=folder).setup("fit")
    assert not (folder / "report.txt").exists()
    joined = {"context": "concat", "max_length": 101, "crop": None}
    with pytest.raises(UserError, match=r"concat: cannot be written .Permission denied"):
        data_module(tmp_path, sources=None, splits=None, prepared=folder, **joined).setup("fit")


def test_an_odd_residue_policy_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"data\.residue_policy: expected one of .*got 'foo'"):
        data_module(tmp_path, residue_policy="foo")
