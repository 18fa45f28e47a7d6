"""A training set that was never read is laid out as one that was."""

import numpy as np
import pytest

from benchmarks.data.loading import data_module, prepared_at
from benchmarks.data.made_sources import make_source
from benchmarks.data.simulated_split import first_batch_seconds, simulate
from protein_performer.data.manifest import open_split, read_manifest

PROTEINS = 2**18  # of a shard


@pytest.fixture
def simulated(tmp_path):
    (tmp_path / "real.fasta").write_text(
        "".join(f">P{i}\n{'MKTAY' * (1 + i % 30)}\n" for i in range(300))
    )
    source = make_source([str(tmp_path / "real.fasta")], tmp_path, 0.5).path
    data_module(source, tmp_path).prepare_data()
    assert simulate(prepared_at(source, tmp_path), shards=2) == 2 * PROTEINS
    return source


def test_the_index_fits_the_shards(simulated, tmp_path):
    folder = prepared_at(simulated, tmp_path)
    split = open_split(folder, read_manifest(folder), "train")
    order = np.array(split.by_length())
    assert len(split) == 2 * PROTEINS
    assert np.array_equal(np.sort(order), np.arange(2 * PROTEINS))
    lengths = np.concatenate([split.lengths(0), split.lengths(1)])[order]
    assert np.all(np.diff(lengths) >= 0)
    assert np.array_equal(np.bincount(lengths), split.length_counts())
    assert set(lengths.tolist()) == {5 * i for i in range(1, 31)}


def test_a_rank_starts_on_it(simulated, tmp_path):
    assert first_batch_seconds(simulated, tmp_path) > 0
    batches = data_module(simulated, tmp_path).train_dataloader()
    batch = next(iter(batches))
    assert len(batches) > 2 * PROTEINS * 5 / 16384
    assert batch.inputs.numel() <= 16384
    assert int(batch.records.max()) > PROTEINS / 2
