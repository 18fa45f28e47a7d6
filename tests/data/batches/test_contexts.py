"""Rows of several proteins: every token once, whatever the objective, ranks and workers."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from data.made_up import data_module, sequences, write_clusters, write_fasta

from protein_performer.alphabet import Alphabet
from protein_performer.batch import IGNORE
from protein_performer.data.batches.row_rule import RowRule
from protein_performer.data.objectives import MaskedResidues, NextToken
from protein_performer.data.splits import SplitRule
from protein_performer.errors import UserError

PROTEIN = Alphabet()
CONCAT = {"context": "concat", "max_length": 101, "crop": None}
WHOLE = {"context": "protein", "max_length": 60, "crop": "all"}


def homologs(folder, **options):
    clusters = str(folder / "clusters.tsv")
    return {"context": "homologs", "max_length": 101, "crop": None, "clusters": clusters} | options


def module_of(folder, context, **options):
    """Proteins of which some are copies of others, which take no part."""
    if not (folder / "proteins.fasta").exists():
        proteins = sequences(300)
        write_fasta(folder / "proteins.fasta", [*proteins, *proteins[::20]])
        write_clusters(folder / "clusters.tsv", 315)
    rule = homologs(folder) if context == "homologs" else context
    return data_module(folder, **{**rule, **options})


CONTEXTS = pytest.mark.parametrize("context", [CONCAT, WHOLE, "homologs"], ids=str)


def shown(batches):
    """What stands in each row, by the number that the row is known by."""
    rows = {}
    for batch in batches:
        for inputs, mask, record in zip(batch.inputs, batch.mask, batch.records, strict=True):
            assert int(record) not in rows
            rows[int(record)] = inputs[mask].tolist()
    return rows


def proteins_of(module, split="train"):
    stored = module.split(split)
    return {int(i): stored.residues(int(i)).tolist() for i in stored.by_length()}


def pieces(row):
    """Tokens behind `<bos>`, cut after each `<eos>`."""
    assert row[0] == PROTEIN.bos
    found = [[]]
    for token in row[1:]:
        found[-1].append(token)
        if token == PROTEIN.eos:
            found.append([])
    return [piece for piece in found if piece]


@CONTEXTS
def test_an_epoch_scores_every_token_of_every_protein_once(tmp_path, context):
    module = module_of(tmp_path, context, objective=NextToken())
    for name, loader in (
        ("train", module.train_dataloader()),
        ("val", module.val_dataloader()),
    ):
        expected = Counter()
        for residues in proteins_of(module, name).values():
            expected.update([*residues, PROTEIN.eos])
        targets = torch.cat([b.targets[b.targets != IGNORE] for b in loader])
        assert Counter(targets.tolist()) == expected


@CONTEXTS
def test_steps_are_batches_of_the_budget(tmp_path, context):
    module = module_of(tmp_path, context)
    batches = list(module.train_dataloader())
    assert len(batches) == module.steps_per_epoch
    assert all(batch.mask.numel() <= 1500 for batch in batches)
    assert all((batch.inputs[:, 0] == PROTEIN.bos).all() for batch in batches)
    report = module.report().batches["train"]
    tokens, places = (sum(f(b.mask) for b in batches) for f in (torch.sum, torch.numel))
    # A row that stops short of an end has one special token, and is counted as having two.
    assert 1 - int(tokens) / places <= report.padding_share + 0.005
    assert report.cut_residues == 0


def test_the_joined_rows_are_the_proteins_in_the_order_of_the_shards(tmp_path):
    module = module_of(tmp_path, CONCAT, objective=MaskedResidues(select=1e-4))
    module.objective.select = 0  # show everything
    rows = shown(module.train_dataloader())
    joined = [token for block in sorted(rows) for token in rows[block][1:]]
    expected = [
        token
        for _, residues in sorted(proteins_of(module).items())
        for token in [*residues, PROTEIN.eos]
    ]
    assert joined == expected
    widths = [len(rows[block]) for block in sorted(rows)]
    assert set(widths[:-1]) == {101}
    assert widths[-1] == (len(expected) - 1) % 100 + 2


def test_a_row_of_homologs_holds_the_members_of_one_cluster_and_all_rows_all_of_them(tmp_path):
    module = module_of(tmp_path, "homologs", max_length=2_001, batch_tokens=4_000)
    module.objective.select = 0
    loader = module.train_dataloader()
    rows = shown(loader)
    known = {tuple(residues): index for index, residues in proteins_of(module).items()}
    stored = module.split("train")
    orders, seen = [], []
    for row in rows.values():
        members = [known[tuple(piece[:-1])] for piece in pieces(row)]
        clusters = {int(stored.accession(i)[1:]) // 5 for i in members}
        orders.append(members)
        (cluster,) = clusters
        seen += [(cluster, member) for member in members]
    assert len(seen) == len(set(seen)) == len(known)
    assert len({cluster for cluster, _ in seen}) == len(rows)
    assert sum(len(members) > 2 for members in orders) > 10
    assert any(members != sorted(members) for members in orders)
    loader.sampler.set_epoch(0)
    loader.sampler.set_epoch(1)
    again = shown(loader)
    assert again.keys() == rows.keys()
    assert sum(again[row] != rows[row] for row in rows) > 10
    assert all(sorted(again[row]) == sorted(rows[row]) for row in rows)


def test_a_long_cluster_fills_several_rows_and_its_last_is_shorter(tmp_path):
    module = module_of(tmp_path, "homologs")
    module.objective.select = 0
    stored = module.split("train")
    widths = Counter()
    for index, residues in proteins_of(module).items():
        widths[int(stored.accession(index)[1:]) // 5] += len(residues) + 1
    found = Counter(len(row) - 1 for row in shown(module.train_dataloader()).values())
    expected = Counter()
    for tokens in widths.values():
        expected[100] += tokens // 100
        expected[tokens % 100] += 1
    del expected[0]
    assert found == expected


def test_proteins_that_the_table_does_not_name_stand_alone_and_a_strange_table_is_refused(tmp_path):
    path = tmp_path / "some.tsv"
    write_fasta(tmp_path / "proteins.fasta", sequences(60, seed=3))
    options = {"splits": SplitRule(val=0.1, test=0.1), **homologs(tmp_path, clusters=str(path))}
    path.write_text("".join(f"C\tP{i}\n" for i in range(30)))
    module = data_module(tmp_path, **options | {"max_length": 1500})
    module.objective.select = 0
    known = {tuple(residues): index for index, residues in proteins_of(module).items()}
    number = {i: int(module.split("train").accession(i)[1:]) for i in known.values()}
    rows = [pieces(row) for row in shown(module.train_dataloader()).values()]
    alone = [number[known[tuple(row[0][:-1])]] for row in rows if len(row) == 1]
    assert sorted(alone) == sorted(i for i in number.values() if i >= 30)
    assert len(alone) > 15
    path.write_text("C\tQ1\n")
    with pytest.raises(UserError, match="names none of the"):
        data_module(tmp_path, **options).prepare_data()


def test_all_windows_tile_each_protein(tmp_path):
    module = module_of(tmp_path, WHOLE)
    module.objective.select = 0
    by_protein = {}
    for row, tokens in shown(module.train_dataloader()).items():
        by_protein.setdefault(row & (2**40 - 1), {})[row >> 40] = tokens[1:]
    expected = proteins_of(module)
    assert by_protein.keys() == expected.keys()
    for protein, windows in by_protein.items():
        joined = [token for number in sorted(windows) for token in windows[number]]
        assert joined == [*expected[protein], PROTEIN.eos]


@CONTEXTS
def test_ranks_share_and_workers_remake_the_batches_of_one_process(tmp_path, context):
    whole = [shown([batch]) for batch in module_of(tmp_path, context).train_dataloader()]
    shares = []
    for rank in (0, 1):
        module = module_of(tmp_path, context, num_workers=2 * rank)
        loops = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=None))
        module.trainer = SimpleNamespace(global_rank=rank, world_size=2, fit_loop=loops)
        shares.append([shown([batch]) for batch in module.train_dataloader()])
    assert len(whole) == len(shares[0]) == len(shares[1])
    for batch, one, other in zip(whole, *shares, strict=True):
        assert batch == one | other
        assert not one.keys() & other.keys()


@CONTEXTS
def test_evaluation_is_the_same_for_every_seed_and_budget(tmp_path, context):
    def asked(**options):
        found = []
        for batch in module_of(tmp_path, context, **options).val_dataloader():
            for inputs, targets, mask in zip(*batch[:3], strict=True):
                found.append((inputs[mask].tolist(), targets[mask].tolist()))
        return sorted(found)

    reference = asked()
    assert reference == asked(seed=1, eval_batch_tokens=300)
    assert reference != asked(eval_seed=1)


def test_checkpoints_of_other_contexts_are_refused(tmp_path):
    state = module_of(tmp_path, CONCAT).state_dict()
    module_of(tmp_path, CONCAT).load_state_dict(state)
    with pytest.raises(UserError, match="context: concat -> None"):
        module_of(tmp_path, WHOLE).load_state_dict(state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context": "genome"}, "data.context: expected"),
        ({"context": "concat"}, "data.crop: expected"),
        ({"context": "concat", "crop": None, "max_length": None}, "needs a length"),
        ({"context": "concat", "crop": None, "max_length": 1}, "at least 2"),
        ({"context": "homologs", "crop": None}, "data.clusters"),
        ({"clusters": "some.tsv"}, "data.clusters"),
        ({"crop": None}, "data.crop: expected"),
    ],
)
def test_contexts_that_cannot_be_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        RowRule(**options)


def test_all_proteins_in_rows_of_two_tokens_are_still_whole(tmp_path):
    """The last block may be a single <eos>: a row without a residue."""
    write_fasta(tmp_path / "proteins.fasta", ["ACD", "W", "MK", "GGG", "HHHH", *sequences(40)])
    module = data_module(
        tmp_path, splits=SplitRule(val=0.2, test=0.2), context="concat", max_length=2, crop=None
    )
    rows = shown(module.train_dataloader())
    assert len(rows) == sum(len(r) + 1 for r in proteins_of(module).values())
    assert np.mean([len(row) for row in rows.values()]) == 2
