"""What a stream refuses, and what it tells of that which it read and left out."""

import numpy as np
import pytest
from data.made_up import rows, write_clusters, write_fasta
from data.streaming.streams import BUFFER, COUNT, arrive_in_small_pieces, distinct, stream

from protein_performer.data.objectives import MaskedResidues
from protein_performer.data.splits import SplitRule
from protein_performer.errors import UserError


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    arrive_in_small_pieces(monkeypatch)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_fault_in_the_source_is_the_message_of_preparing_it(tmp_path, workers):
    proteins = distinct(COUNT)
    proteins[350] += "*"
    write_fasta(tmp_path / "proteins.fasta", proteins)
    write_clusters(tmp_path / "clusters.tsv", COUNT)
    with pytest.raises(UserError) as prepared:
        stream(tmp_path, mode="shards").prepare_data()
    loader = stream(tmp_path, head=300, num_workers=workers).train_dataloader()
    with pytest.raises(UserError) as streamed:
        list(loader)
    assert str(streamed.value) == str(prepared.value)
    assert str(streamed.value).startswith(
        f"{tmp_path / 'proteins.fasta'}, line 701: record P350: expected"
    )


def test_copies_of_the_evaluation_sets_are_not_trained_on_and_are_counted(tmp_path, caplog):
    proteins = distinct(COUNT)
    path = write_fasta(tmp_path / "proteins.fasta", proteins)
    write_clusters(tmp_path / "clusters.tsv", COUNT)
    path.write_text(
        path.read_text() + "".join(f">tr|X{i}|COPY\n{each}\n" for i, each in enumerate(proteins))
    )
    caplog.set_level("INFO")
    rule = SplitRule(val=0, test=0, ood=0.1, clusters=str(tmp_path / "clusters.tsv"))
    module = stream(tmp_path, splits=rule, max_length=200, objective=MaskedResidues(select=1e-4))
    module.objective.select = 0
    trained = {
        np.array(inputs[1:-1], np.uint8).tobytes()
        for inputs, _ in rows(module.train_dataloader()).values()
    }
    held_out = {each.tobytes() for each in module.split("ood")}
    assert 20 < len(held_out) < 60
    assert len(trained) == COUNT - len(held_out)
    assert trained.isdisjoint(held_out)
    assert f" {len(held_out)} left out as exact copies" in caplog.text


def test_what_was_read_is_told_at_the_end_of_an_epoch_and_of_training(tmp_path, caplog):
    proteins = distinct(COUNT)
    proteins[200] += "*?"
    proteins[300] = "**"
    proteins[310] = proteins[310].lower()
    path = write_fasta(tmp_path / "proteins.fasta", proteins)
    write_clusters(tmp_path / "clusters.tsv", COUNT)
    path.write_text(path.read_text() + ">tr|EMPTY|\n")
    caplog.set_level("INFO")
    module = stream(tmp_path, residue_policy="skip", head=300, num_workers=2)
    module.setup("fit")
    assert "their first 300 records" in caplog.text
    loader = module.train_dataloader()
    state = next(state for _, state in zip(loader, iter(module.state_dict, None), strict=False))
    caplog.clear()
    module.teardown("fit")
    assert caplog.text.count("read so far in this epoch:") == 1
    module.teardown("fit")
    assert caplog.text.count("read so far") == 1
    told = (
        f"{COUNT:,} records, {sum(map(len, proteins)):,} letters: {len(proteins[310])} lower case,"
        " 0 rare, 0 unknown, 4 skipped; 1 records without a residue left out\n"
        "warning: 1 record(s) with a header without a sequence, left out"
    )
    for resumed in (False, True):
        caplog.clear()
        module = stream(tmp_path, residue_policy="skip", head=300)
        if resumed:
            module.load_state_dict(state)
        assert sum(len(batch.records) for batch in module.train_dataloader()) > 200
        assert caplog.text.count("read to the end, epoch 1:") == 1
        assert told in caplog.text
        assert "cut, by" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "river"}, "data.mode: expected one of"),
        ({"buffer": 0}, "data.buffer: expected at least 1"),
        ({"head": 0}, "data.head: expected at least 1"),
        ({"max_length": None}, r"data\.max_length: .* needs a number"),
        ({"max_length": 1499}, "data.batch_tokens: expected at least 1,501"),
        (
            {"context": "homologs", "crop": None, "clusters": "clusters.tsv"},
            "members of a cluster side by side",
        ),
    ],
)
def test_what_a_stream_cannot_give_is_refused(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        stream(tmp_path, **options)


def test_ranks_that_could_not_share_each_batch_are_refused_before_training(tmp_path):
    stream(tmp_path, rank=0, world_size=5).train_dataloader()  # 1500 // 152 = 9 rows
    with pytest.raises(UserError, match=r"no more than 5 rows of up to 152, which 6 ranks"):
        stream(tmp_path, rank=0, world_size=6).train_dataloader()


def test_a_checkpoint_goes_on_with_the_same_sources_and_buffers_only(tmp_path):
    state = stream(tmp_path).state_dict()
    with pytest.raises(UserError, match=f"buffer: {BUFFER} -> 91"):
        stream(tmp_path, buffer=91).load_state_dict(state)
    with pytest.raises(UserError, match="mode: stream -> None"):
        stream(tmp_path, mode="shards").load_state_dict(state)
    with pytest.raises(UserError, match="mode: None -> stream"):
        stream(tmp_path).load_state_dict(stream(tmp_path, mode="shards").state_dict())
    path = tmp_path / "proteins.fasta"
    path.write_text(path.read_text() + ">tr|MORE|\nMK\n")
    with pytest.raises(UserError, match=r"sources: .*proteins\.fasta"):
        stream(tmp_path).load_state_dict(state)
