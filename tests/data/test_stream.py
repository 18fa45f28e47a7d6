"""Training on text as it is read: which batches, from where, and what becomes of the odd."""

import gzip
import io
import random
import tracemalloc
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from loopback import Site, serve
from made_up import STANDARD, data_module, write_clusters, write_fasta
from test_datamodule import rows

from protein_performer.alphabet import Alphabet
from protein_performer.data import blocks, encoding, sources
from protein_performer.data.buffers import Begin, BufferReader
from protein_performer.data.encoding import Encoder
from protein_performer.data.objectives import MaskedResidues
from protein_performer.data.place import Place, first_records, read_from
from protein_performer.data.records import ReadCounts, parse_columns
from protein_performer.data.splits import SplitRule
from protein_performer.errors import UserError

COUNT, BUFFER = 400, 90
ALL = SplitRule(valid=0.0, test=0.0)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    """Text that arrives in many pieces, as that of a large file does."""
    monkeypatch.setattr(sources, "CHUNK", 2_000)
    monkeypatch.setattr(blocks, "_AT_LEAST", 1_500)
    monkeypatch.setattr(encoding, "_BUNDLE", 4_000)


def distinct(count, *, shortest=20, longest=200, seed=0):
    lots = random.Random(seed)
    lengths = [lots.randint(shortest, longest) for _ in range(count)]
    return ["".join(lots.choices(STANDARD, k=length)) for length in lengths]


def stream(folder, *, count=COUNT, rank=None, num_ranks=1, **options):
    """A data module that streams made-up proteins, perhaps on one of several ranks."""
    if not (folder / "proteins.fasta").exists():
        write_fasta(folder / "proteins.fasta", distinct(count))
        write_clusters(folder / "clusters.tsv", count)
    defaults = {"mode": "stream", "buffer": BUFFER, "head": count, "max_length": 150}
    module = data_module(folder, **defaults | options)
    if rank is not None:
        progress = SimpleNamespace(total=SimpleNamespace(processed=0))
        loops = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress))
        module.trainer = SimpleNamespace(global_rank=rank, world_size=num_ranks, fit_loop=loops)
    return module


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def reader(path, *, size=BUFFER, rule=ALL, policy="error"):
    encoder = Encoder(Alphabet(), policy, rule)
    return BufferReader([str(path)], encoder, size, np.zeros(0, np.uint64), 150)


def shown(buffer):
    indices = sorted(buffer.by_length().tolist())
    return [Alphabet().decode(buffer.residues(index)) for index in indices]


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
    for num_ranks in (1, 2):
        shares = [
            list(
                stream(
                    tmp_path, rank=rank, num_ranks=num_ranks, num_workers=workers
                ).train_dataloader()
            )
            for rank in range(num_ranks)
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
            resumed = stream(tmp_path, rank=rank, num_ranks=2)
            resumed.load_state_dict(state)
            parts.append(next(iter(resumed.train_dataloader())))
        assert rows(parts) == rows([batch])


def test_a_resumed_reader_parses_nothing_that_lies_before(tmp_path, monkeypatch):
    path = write_fasta(tmp_path / "proteins.fasta", distinct(COUNT))
    filled = list(reader(path).read(Begin()))
    parsed = []
    encode = Encoder.encode
    monkeypatch.setattr(
        Encoder, "encode", lambda self, blocks: parsed.append(encode(self, blocks)) or parsed[-1]
    )
    again = list(reader(path).read(filled[2].begin))
    assert [shown(each.buffer) for each in again] == [shown(each.buffer) for each in filled[2:]]
    assert [each.begin for each in again] == [each.begin for each in filled[2:]]
    records = sum(each.read.records for each in parsed)
    assert COUNT - 2 * BUFFER <= records < COUNT - 2 * BUFFER + 40
    assert again[-1].read == filled[-1].read


def test_buffers_hold_neighbours_whatever_the_pieces_and_the_compression(tmp_path, monkeypatch):
    proteins = distinct(COUNT)
    path = write_fasta(tmp_path / "proteins.fasta", proteins)
    filled = list(reader(path).read(Begin()))
    assert [shown(each.buffer) for each in filled] == [
        proteins[begin : begin + BUFFER] for begin in range(0, 270, BUFFER)
    ] + [proteins[270:]]  # the last 40 do not fill half a buffer
    compressed = tmp_path / "proteins.fasta.gz"
    compressed.write_bytes(gzip.compress(path.read_bytes()))
    for bundle in (100, 1 << 21):
        monkeypatch.setattr(encoding, "_BUNDLE", bundle)
        for source in (path, compressed):
            others = list(reader(source).read(Begin()))
            assert [shown(each.buffer) for each in others] == [
                shown(each.buffer) for each in filled
            ]


def test_several_sources_are_read_as_one_and_resumed_in_any(tmp_path):
    proteins = distinct(COUNT)
    parts = [
        write_fasta(tmp_path / f"{part}.fasta", proteins[part::3], prefix=f"P{part}_")
        for part in range(3)
    ]
    whole = reader(parts[0])
    whole = BufferReader(list(map(str, parts)), whole.encoder, BUFFER, whole.held_out, None)
    filled = list(whole.read(Begin()))
    assert [protein for each in filled for protein in shown(each.buffer)] == [
        protein for part in range(3) for protein in proteins[part::3]
    ]
    assert len({each.begin.place.source for each in filled}) > 1
    for number, each in enumerate(filled):
        again = next(whole.read(each.begin))
        assert shown(again.buffer) == shown(filled[number].buffer)
        assert again.behind == each.behind


def test_memory_is_bounded_by_the_buffer_and_not_by_the_source(tmp_path):
    peaks, sizes = [], []
    for count in (2_000, 8_000):
        path = write_fasta(tmp_path / f"{count}.fasta", distinct(count))
        tracemalloc.start()
        sizes += [len(filled.buffer) for filled in reader(path, size=200).read(Begin())]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(sizes) <= 300
    assert peaks[1] < 1.2 * peaks[0]


def test_long_proteins_fill_a_buffer_by_their_residues(tmp_path):
    path = write_fasta(tmp_path / "proteins.fasta", distinct(10, shortest=3_000, longest=4_000))
    sizes = [len(filled.buffer) for filled in reader(path, size=10).read(Begin())]
    assert sum(sizes) == 10
    assert set(sizes[:-1]) <= {2, 3}  # 10 * 1024 residues
    path = write_fasta(tmp_path / "longer.fasta", distinct(3, shortest=9_000, longest=9_000))
    assert [len(filled.buffer) for filled in reader(path, size=2).read(Begin())] == [1, 1, 1]


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
    assert str(streamed.value).startswith(f"{tmp_path / 'proteins.fasta'}: record P350: expected")


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


def test_copies_of_the_evaluation_sets_are_not_trained_on_and_are_counted(tmp_path, caplog):
    proteins = distinct(COUNT)
    path = write_fasta(tmp_path / "proteins.fasta", proteins)
    write_clusters(tmp_path / "clusters.tsv", COUNT)
    path.write_text(
        path.read_text() + "".join(f">tr|X{i}|COPY\n{each}\n" for i, each in enumerate(proteins))
    )
    caplog.set_level("INFO")
    rule = SplitRule(valid=0, test=0, ood=0.1, clusters=str(tmp_path / "clusters.tsv"))
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
    stream(tmp_path, rank=0, num_ranks=5).train_dataloader()  # 1500 // 152 = 9 rows
    with pytest.raises(UserError, match=r"no more than 5 rows of up to 152, which 6 ranks"):
        stream(tmp_path, rank=0, num_ranks=6).train_dataloader()


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


def test_the_first_records_end_between_records_in_any_format(tmp_path):
    entry = (
        "ID   P{0}  Reviewed;  3 AA.\nAC   P0000{0};\n"
        "SQ   SEQUENCE   3 AA;  1400 MW;  0000000000000000 CRC64;\n     MKT\n//\n"
    )
    texts = {
        "fasta": "".join(f">P{i}\nMKT\n" * (i != 3) or ">P3\n" for i in range(9)),
        "dat": "".join(entry.format(i) for i in range(9)),
    }
    for kind, text in texts.items():
        path = tmp_path / f"proteins.{kind}"
        path.write_text(text)
        for count in range(11):
            counts, met = ReadCounts(), ReadCounts()
            placed = list(first_records(read_from([str(path)], Place(), counts), count))
            for block, _ in placed:
                parse_columns(block, met)
            assert met.records + met.empty == min(count, 9)
            if placed:
                behind = read_from([str(path)], placed[-1].behind, ReadCounts())
                rest = "".join(block.text.decode() for block, _ in behind)
                assert text.endswith(rest)
                assert sum(len(block.text) for block, _ in placed) + len(rest) == len(text)
