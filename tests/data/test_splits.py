"""Splits as a pure function of the protein."""

import gzip
import subprocess
import sys

import numpy as np
import pytest
from made_up import sequences

from protein_performer.data.duplicates import digest_each
from protein_performer.data.splits import OOD, SPLITS, TEST, TRAIN, VALID, SplitRule
from protein_performer.errors import UserError

N = 20_000
ACCESSIONS = [f"A{i}" for i in range(N)]
DIGESTS = np.random.default_rng(0).integers(0, 2**64, N, dtype=np.uint64)


def test_shares_are_as_asked():
    split = SplitRule(valid=0.02, test=0.05).assign(ACCESSIONS, DIGESTS)
    counts = np.bincount(split, minlength=len(SPLITS)) / N
    for which, expected in {TRAIN: 0.93, VALID: 0.02, TEST: 0.05, OOD: 0}.items():
        error = 4 * np.sqrt(expected * (1 - expected) / N)
        assert counts[which] == pytest.approx(expected, abs=error)


def test_the_split_does_not_depend_on_order_or_company():
    rule = SplitRule(valid=0.1, test=0.1)
    together = rule.assign(ACCESSIONS, DIGESTS)
    assert np.array_equal(rule.assign(ACCESSIONS[::-1], DIGESTS[::-1]), together[::-1])
    assert rule.assign(["other"], DIGESTS[5:6])[0] == together[5]


def test_another_seed_gives_other_splits():
    one, other = (SplitRule(0.1, 0.1, seed=seed).assign(ACCESSIONS, DIGESTS) for seed in (0, 1))
    assert not np.array_equal(one, other)


def test_the_split_is_the_same_in_another_process():
    """Guards against Python's hash(), which differs by process."""
    program = (
        "import numpy as np; from protein_performer.data.splits import SplitRule;"
        "print(SplitRule(0.3, 0.3).assign(list('abc'), np.arange(3, dtype=np.uint64)).tolist())"
    )
    env = {"PYTHONHASHSEED": "77", "PATH": ""}
    answer = subprocess.run(
        [sys.executable, "-c", program], env=env, check=True, capture_output=True, text=True
    )
    here = SplitRule(0.3, 0.3).assign(list("abc"), np.arange(3, dtype=np.uint64))
    assert answer.stdout.strip() == str(here.tolist())


@pytest.mark.parametrize("name", ["clusters.tsv", "clusters.tsv.gz"])
def test_clusters_are_held_out_whole(tmp_path, name):
    table = "".join(f"C{i // 4}\tA{i}\n" for i in range(8_000))
    with (gzip.open if name.endswith("gz") else open)(tmp_path / name, "wt") as file:
        file.write(table)
    rule = SplitRule(valid=0.1, test=0.1, ood=0.2, clusters=str(tmp_path / name))
    split = rule.assign(ACCESSIONS, DIGESTS)
    held_out = (split[:8_000] == OOD).reshape(-1, 4)
    assert (held_out.all(axis=1) == held_out.any(axis=1)).all()
    assert held_out.mean() == pytest.approx(0.2, abs=4 * np.sqrt(0.16 / 2_000))
    assert not (split[8_000:] == OOD).any()  # the table does not name them
    others = split[:8_000] != OOD
    without = SplitRule(valid=0.1, test=0.1).assign(ACCESSIONS, DIGESTS)
    assert np.array_equal(split[:8_000][others], without[:8_000][others])


def test_digests_are_of_the_sequence_alone():
    tokens = np.frombuffer("".join(proteins := [*sequences(9), "AC", "AC"]).encode(), np.uint8)
    digests = digest_each(tokens, np.array([len(each) for each in proteins]))
    assert len({tuple(row) for row in digests.tolist()}) == 10
    assert np.array_equal(digests[-1], digests[-2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"valid": 1.1, "test": 0.1}, "splits.valid: expected a share"),
        ({"valid": 0.1, "test": -0.1}, "splits.test: expected a share"),
        ({"valid": 0.5, "test": 0.5}, "leave nothing for training"),
        ({"valid": 0.1, "test": 0.1, "ood": 0.1}, "do not go together"),
        ({"valid": 0.1, "test": 0.1, "clusters": "x.tsv"}, "do not go together"),
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
    rule = SplitRule(valid=0.1, test=0.1, ood=1e-9, clusters=str(path))
    with pytest.raises(UserError, match=message):
        rule.assign(["A1"], DIGESTS[:1])


def test_a_truncated_table_is_refused(tmp_path):
    path = tmp_path / "clusters.tsv.gz"
    rows = "".join(f"C{i}\tA{i * 7919}\n" for i in range(5_000))
    path.write_bytes(gzip.compress(rows.encode())[:-2_000])
    rule = SplitRule(valid=0.1, test=0.1, ood=0.5, clusters=str(path))
    with pytest.raises(UserError, match="cannot be read after line"):
        rule.assign(["A1"], DIGESTS[:1])
