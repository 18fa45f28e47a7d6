"""Splits as a pure function of the protein."""

import gzip
import subprocess
import sys

import numpy as np
import pytest
from data.made_up import sequences

from protein_performer.data.clusters import digest64, digest_names
from protein_performer.data.preparing.tokenizer import digest_each
from protein_performer.data.reading.pfam import PAPER_OOD_FAMILIES
from protein_performer.data.splits import (
    OOD,
    SPLITS,
    TEST,
    TRAIN,
    VAL,
    SplitRule,
)
from protein_performer.errors import UserError

N = 20_000
ACCESSIONS = digest_names([f"A{i}" for i in range(N)])
DIGESTS = np.random.default_rng(0).integers(0, 2**64, N, dtype=np.uint64)


def test_shares_are_as_asked():
    split = SplitRule(val=0.02, test=0.05).assign(ACCESSIONS, DIGESTS)
    counts = np.bincount(split, minlength=len(SPLITS)) / N
    for which, expected in {TRAIN: 0.93, VAL: 0.02, TEST: 0.05, OOD: 0}.items():
        error = 4 * np.sqrt(expected * (1 - expected) / N)
        assert counts[which] == pytest.approx(expected, abs=error)


def test_the_split_does_not_depend_on_order_or_company():
    rule = SplitRule(val=0.1, test=0.1)
    together = rule.assign(ACCESSIONS, DIGESTS)
    assert np.array_equal(rule.assign(ACCESSIONS[::-1], DIGESTS[::-1]), together[::-1])
    assert rule.assign(digest_names(["other"]), DIGESTS[5:6])[0] == together[5]


def test_another_seed_gives_other_splits():
    one, other = (SplitRule(0.1, 0.1, seed=seed).assign(ACCESSIONS, DIGESTS) for seed in (0, 1))
    assert not np.array_equal(one, other)


def test_the_split_is_the_same_in_another_process():
    """Guards against Python's hash(), which differs by process."""
    program = (
        "import numpy as np;"
        "from protein_performer.data.clusters import digest_names;"
        "from protein_performer.data.splits import SplitRule;"
        "names, digests = digest_names(list('abcdef')), np.arange(6, dtype=np.uint64);"
        "rules = [SplitRule(0.3, 0.3, by=by) for by in ('sequence', 'accession')];"
        "print([rule.assign(names, digests).tolist() for rule in rules])"
    )
    env = {"PYTHONHASHSEED": "77", "PATH": ""}
    answer = subprocess.run(
        [sys.executable, "-c", program], env=env, check=True, capture_output=True, text=True
    )
    names, digests = digest_names(list("abcdef")), np.arange(6, dtype=np.uint64)
    rules = [SplitRule(0.3, 0.3, by=by) for by in ("sequence", "accession")]
    here = [rule.assign(names, digests).tolist() for rule in rules]
    assert answer.stdout.strip() == str(here)


@pytest.mark.parametrize("name", ["clusters.tsv", "clusters.tsv.gz"])
def test_clusters_are_held_out_whole(tmp_path, name):
    table = "".join(f"C{i // 4}\tA{i}\n" for i in range(8_000))
    with (gzip.open if name.endswith("gz") else open)(tmp_path / name, "wt") as file:
        file.write(table)
    rule = SplitRule(val=0.1, test=0.1, ood=0.2, clusters=str(tmp_path / name))
    split = rule.assign(ACCESSIONS, DIGESTS)
    held_out = (split[:8_000] == OOD).reshape(-1, 4)
    assert (held_out.all(axis=1) == held_out.any(axis=1)).all()
    assert held_out.mean() == pytest.approx(0.2, abs=4 * np.sqrt(0.16 / 2_000))
    assert not (split[8_000:] == OOD).any()  # the table does not name them
    others = split[:8_000] != OOD
    without = SplitRule(val=0.1, test=0.1).assign(ACCESSIONS, DIGESTS)
    assert np.array_equal(split[:8_000][others], without[:8_000][others])


def test_by_cluster_no_cluster_is_torn(tmp_path):
    (tmp_path / "c.tsv").write_text("".join(f"C{i // 4}\tA{i}\n" for i in range(8_000)))
    rule = SplitRule(0.1, 0.2, ood=0.2, clusters=str(tmp_path / "c.tsv"), by="cluster")
    split = rule.assign(ACCESSIONS, DIGESTS)
    clusters = split[:8_000].reshape(-1, 4)
    assert (clusters == clusters[:, :1]).all()
    shares = np.bincount(clusters[:, 0], minlength=4) / 2_000
    for which, expected in {TRAIN: 0.56, VAL: 0.08, TEST: 0.16, OOD: 0.2}.items():
        error = 4 * np.sqrt(expected * (1 - expected) / 2_000)
        assert shares[which] == pytest.approx(expected, abs=error)
    assert (split[8_000:] == TRAIN).all()  # the table does not name them
    assert np.array_equal(rule.assign(ACCESSIONS, DIGESTS[::-1]), split)
    without = SplitRule(0.1, 0.2, clusters=str(tmp_path / "c.tsv"), by="cluster")
    assert not (without.assign(ACCESSIONS, DIGESTS) == OOD).any()


def test_a_protein_in_two_clusters_goes_to_the_higher_split(tmp_path):
    rows = [f"C{i}\tA{i % 50}\n" for i in range(100)]
    path = tmp_path / "c.tsv"
    path.write_text("".join(rows))
    rule = SplitRule(0.3, 0.3, ood=0.3, clusters=str(path), by="cluster")
    both = rule.assign(ACCESSIONS[:50], DIGESTS[:50])
    for half, number in ((rows[:50], 0), (rows[50:], 1)):
        path = tmp_path / f"{number}.tsv"
        path.write_text("".join(half))
        alone = SplitRule(0.3, 0.3, ood=0.3, clusters=str(path), by="cluster")
        other = alone.assign(ACCESSIONS[:50], DIGESTS[:50])
        assert (both >= other).all()
    assert set(both) == {TRAIN, VAL, TEST, OOD}


def test_by_accession_only_the_accession_matters():
    rule = SplitRule(val=0.1, test=0.1, by="accession")
    split = rule.assign(ACCESSIONS, DIGESTS)
    assert np.array_equal(rule.assign(ACCESSIONS, DIGESTS[::-1]), split)
    assert np.bincount(split)[VAL] / N == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / N))


def test_stated_families_are_held_out():
    rule = SplitRule(val=0.1, test=0.1, families="paper")
    assert rule.families == PAPER_OOD_FAMILIES
    assert rule.holds_out
    stated = [(), ("PF00069",), ("PF00069", PAPER_OOD_FAMILIES[7]), (PAPER_OOD_FAMILIES[0],)] * 50
    split = rule.assign(ACCESSIONS[:200], DIGESTS[:200], stated)
    without = SplitRule(val=0.1, test=0.1).assign(ACCESSIONS[:200], DIGESTS[:200])
    expected = np.where(np.tile([False, False, True, True], 50), OOD, without)
    assert np.array_equal(split, expected)
    with pytest.raises(UserError, match="FASTA states no Pfam families"):
        rule.assign(ACCESSIONS[:1], DIGESTS[:1])


def test_names_are_digested_alone_or_together_alike():
    names = ["P12345", "A0A001", "x" * 16, "x" * 17, "x" * 300, "Ünï", "a/b", "P1234"]
    together = digest_names(names)
    assert together.tolist() == [int(digest_names([name])[0]) for name in names]
    ascii_only = [name for name in names if name.isascii()]
    assert set(digest_names(ascii_only).tolist()) < set(together.tolist())
    assert len(set(together.tolist())) == len(names)
    assert together[5] == digest64("Ünï")
    assert len(digest_names([])) == 0


def test_digests_are_of_the_sequence_alone():
    tokens = np.frombuffer("".join(proteins := [*sequences(9), "AC", "AC"]).encode(), np.uint8)
    digests = digest_each(tokens, np.array([len(each) for each in proteins]))
    assert len({tuple(row) for row in digests.tolist()}) == 10
    assert np.array_equal(digests[-1], digests[-2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val": 1.1, "test": 0.1}, "splits.val: expected a share"),
        ({"val": 0.1, "test": -0.1}, "splits.test: expected a share"),
        ({"val": 0.5, "test": 0.5}, "leave nothing for training"),
        ({"val": 0.1, "test": 0.1, "ood": 0.1}, "do not go together"),
        ({"val": 0.1, "test": 0.1, "clusters": "x.tsv"}, "do not go together"),
        ({"val": 0.1, "test": 0.1, "by": "cluster"}, "do not go together"),
        ({"val": 0.1, "test": 0.1, "by": "organism"}, "splits.by: expected one of"),
        ({"val": 0.1, "test": 0.1, "families": "ours"}, "or 'paper', got 'ours'"),
        ({"val": 0.1, "test": 0.1, "families": ["kinase"]}, "Pfam accessions"),
    ],
)
def test_impossible_shares_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        SplitRule(**options)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("", "empty file"),
        ("C1\tA1\nC1 A2\n", "clusters.tsv:2: expected 'cluster<tab>accession', got 'C1 A2"),
        ("C1\tA1\tmore\n", "clusters.tsv:1"),
        ("C1\tA1\n", "no cluster was held out"),
    ],
)
def test_a_bad_table_is_refused(tmp_path, content, message):
    path = tmp_path / "clusters.tsv"
    if content is not None:
        path.write_text(content)
    rule = SplitRule(val=0.1, test=0.1, ood=1e-9, clusters=str(path))
    with pytest.raises(UserError, match=message):
        rule.assign(digest_names(["A1"]), DIGESTS[:1])


def test_a_truncated_table_is_refused(tmp_path):
    path = tmp_path / "clusters.tsv.gz"
    rows = "".join(f"C{i}\tA{i * 7919}\n" for i in range(5_000))
    path.write_bytes(gzip.compress(rows.encode())[:-2_000])
    rule = SplitRule(val=0.1, test=0.1, ood=0.5, clusters=str(path))
    with pytest.raises(UserError, match="cannot be read after line"):
        rule.assign(digest_names(["A1"]), DIGESTS[:1])
