"""Embedding whole files: order, bad input, killed runs, several processes."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from embedding_sources import FASTA, SEQUENCES
from tiny import tiny_config, write_checkpoint

import protein_performer as pp
from protein_performer.errors import UserError
from protein_performer.inference import encoded_proteins
from protein_performer.inference.embedding import embed_files as module
from protein_performer.inference.embedding.embed_files import embed_files
from protein_performer.inference.embedding.embedding_parts import remove_parts
from protein_performer.inference.embedding.embedding_plan import EmbeddingOptions
from protein_performer.inference.embedding.ranks import Rank


@pytest.fixture
def model(tmp_path):
    write_checkpoint(tmp_path / "a.ckpt", tiny_config())
    return pp.load(tmp_path / "a.ckpt", device="cpu")


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setattr(encoded_proteins, "CHUNK_RECORDS", 2)
    path = tmp_path / "a.fasta"
    path.write_text(FASTA)
    return str(path)


def vectors(path):
    with np.load(path) as arrays:
        return arrays["embedding"]


class Killed(Exception):
    pass


def embed_until(monkeypatch, chunks, *args, **options):
    """Embed so many chunks; then the process is killed."""
    embed, left = module._embed_chunk, [chunks]

    def stopping(*chunk):
        if not left[0]:
            raise Killed
        left[0] -= 1
        return embed(*chunk)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_embed_chunk", stopping)
        with pytest.raises(Killed):
            embed_files(*args, **options)


def test_the_same_command_goes_on_after_a_kill(model, source, tmp_path, monkeypatch):
    out = tmp_path / "out.npz"
    embed_until(monkeypatch, 2, model, [source], out)
    assert not out.exists()
    seen = []
    counts = embed_files(
        model, [source], out, on_progress=lambda c, total: seen.append((c.proteins, total))
    )
    assert (counts.reused, counts.proteins, counts.written) == (4, 5, True)
    assert seen == [(2, 5), (4, 5), (5, 5)]
    np.testing.assert_allclose(vectors(out), model.embed(SEQUENCES).numpy(), rtol=1e-5, atol=1e-5)
    with pytest.raises(UserError, match="the file exists"):
        embed_files(model, [source], out)
    assert embed_files(model, [source], out, overwrite=True).reused == 0


def test_another_plan_or_other_proteins_do_not_go_on(model, source, tmp_path, monkeypatch):
    out = tmp_path / "out.npz"
    embed_until(monkeypatch, 1, model, [source], out)
    with pytest.raises(UserError, match=r"begun with other pooling, dtype\. .*--overwrite"):
        embed_files(model, [source], out, EmbeddingOptions("max", dtype="float16"))
    (tmp_path / "a.fasta").write_text(FASTA.replace("MKTAYIAK", "MKTAYIAW"))
    with pytest.raises(UserError, match="part 0 is of other proteins"):
        embed_files(model, [source], out)
    remove_parts(out)
    assert embed_files(model, [source], out).written


def test_a_folder_of_the_users_is_never_taken_for_parts(model, source, tmp_path):
    precious = tmp_path / "out.npz.parts" / "precious"
    precious.mkdir(parents=True)
    for attempt in (lambda out: embed_files(model, [source], out), remove_parts):
        with pytest.raises(UserError, match="not a folder of parts"):
            attempt(tmp_path / "out.npz")
    assert precious.is_dir()


def test_several_processes_share_the_work_and_one_writes(model, source, tmp_path):
    out, ranks = tmp_path / "out.npz", [Rank(i, 2, i) for i in (0, 1)]
    first = embed_files(model, [source], out, rank=ranks[1])
    assert (first.written, out.exists()) == (False, False)
    second = embed_files(model, [source], out, rank=ranks[0])
    assert (second.written, second.proteins) == (True, 5)
    np.testing.assert_allclose(vectors(out), model.embed(SEQUENCES).numpy(), rtol=1e-5, atol=1e-5)


def test_a_rank_that_comes_late_finds_the_work_done(model, source, tmp_path, monkeypatch):
    out, late = tmp_path / "out.npz", Rank(1, 2, 1)
    embed_files(model, [source], out)
    before = out.read_bytes()
    counts = embed_files(model, [source], out, rank=late)
    assert (counts.written, counts.proteins, counts.reused) == (False, 5, 5)
    assert out.read_bytes() == before
    assert not list(tmp_path.glob("*.parts"))
    with pytest.raises(UserError, match="the file exists"):  # of another plan
        embed_files(model, [source], out, EmbeddingOptions("max"), rank=late)
    (tmp_path / "a.fasta").write_text(FASTA.replace("MKTAYIAK", "MKTAYIAW"))
    with pytest.raises(UserError, match="the file exists"):  # of other proteins
        embed_files(model, [source], out, rank=late)


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".parquet", ".safetensors"])
def test_every_format_tells_a_late_rank_what_it_holds(model, source, tmp_path, suffix):
    out = tmp_path / f"out{suffix}"
    embed_files(model, [source], out)
    assert embed_files(model, [source], out, rank=Rank(1, 2, 1)).reused == 5
    out.write_bytes(b"{" * 100)  # what another program wrote is not ours
    with pytest.raises(UserError, match="the file exists"):
        embed_files(model, [source], out, rank=Rank(1, 2, 1))


def test_parts_that_vanish_while_a_rank_is_at_work_were_finished_by_another(
    model, source, tmp_path, monkeypatch
):
    out, embed = tmp_path / "out.npz", module._embed_chunk

    def overtaken(*chunk):
        monkeypatch.setattr(module, "_embed_chunk", embed)
        embed_files(model, [source], out)  # from the first part on, and to the end
        return embed(*chunk)

    monkeypatch.setattr(module, "_embed_chunk", overtaken)
    counts = embed_files(model, [source], out, rank=Rank(1, 2, 1))
    assert (counts.written, counts.proteins) == (False, 5)
    assert [each.name for each in tmp_path.glob("*out*")] == ["out.npz"]


def test_several_processes_cannot_share_a_pipe(model, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match=r"pipe: several processes share .*one only can read this"):
        embed_files(model, [str(tmp_path / "pipe")], tmp_path / "out.npz", rank=Rank(1, 2, 1))


def test_two_devices_are_two_processes_of_the_command(model, source, tmp_path):
    out, figures = tmp_path / "out.npz", tmp_path / "figures.json"
    command = [sys.executable, "-m", "protein_performer", "embed", str(tmp_path / "a.ckpt")]
    command += [source, str(out), "--devices", "2", "--device", "cpu", "--overwrite"]
    done = subprocess.run(
        [*command, "--json", str(figures)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(figures.read_text())["reused"] == 5
    np.testing.assert_allclose(vectors(out), model.embed(SEQUENCES).numpy(), rtol=1e-5, atol=1e-5)


def test_what_does_not_fit_into_memory_is_listed_and_the_rest_is_there(
    model, source, tmp_path, monkeypatch
):
    hidden = model.network.hidden

    def small(tokens, mask):
        if tokens.numel() > 11:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return hidden(tokens, mask)

    monkeypatch.setattr(model.network, "hidden", small)
    counts = embed_files(model, [source], tmp_path / "out.npz")
    assert [(each["accession"], each["residues"]) for each in counts.failed] == [
        ("A0A1", 10),
        ("a/b", 10),
    ]
    with np.load(tmp_path / "out.npz") as arrays:
        assert arrays["length"].tolist() == [5, 3, 1]
        assert json.loads(str(arrays["manifest"]))["counts"]["failed"] == 2


def test_embeddings_that_are_not_finite_are_failures(model, source, tmp_path):
    with torch.no_grad():
        model.network.norm.weight.mul_(1e5)  # beyond float16's range, not beyond float32's
    embed_files(model, [source], tmp_path / "fine.npz")
    with pytest.raises(UserError, match="none of 5 proteins: its embedding is not finite"):
        embed_files(model, [source], tmp_path / "out.npz", EmbeddingOptions(dtype="float16"))
    assert not list(tmp_path.glob("out.npz*"))


@pytest.mark.parametrize("kind", ["learned", "linformer"])
def test_a_protein_beyond_a_fixed_maximum_is_named_before_the_work(tmp_path, source, kind):
    linformer = {"_target_": "protein_performer.attention.linformer.Linformer", "max_length": 9}
    config = (
        tiny_config(positions="learned", max_length=9)
        if kind == "learned"
        else tiny_config(attention=linformer)
    )
    write_checkpoint(tmp_path / "a.ckpt", config)
    model, out = pp.load(tmp_path / "a.ckpt", device="cpu"), tmp_path / "out.npz"
    with pytest.raises(UserError, match=r"a\.fasta, line 1: A0A1 has 10 residues.* at most 7"):
        embed_files(model, [source], out)
    assert not list(tmp_path.glob("out*"))
    with pytest.raises(UserError, match="window: expected at least 1 and at most 7"):
        embed_files(model, [source], out, EmbeddingOptions(window=8))
    cut = embed_files(model, [source], out, EmbeddingOptions(truncate=7))
    assert (cut.truncated, cut.truncated_residues) == (2, 6)
    wanted = model.embed([each[:7] for each in SEQUENCES]).numpy()
    np.testing.assert_allclose(vectors(out), wanted, rtol=1e-5, atol=1e-5)
    windowed = embed_files(model, [source], tmp_path / "windowed.npz", EmbeddingOptions(window=7))
    assert windowed.windowed == 2


def test_one_bad_character_is_told_before_the_work_with_its_place(tmp_path):
    write_checkpoint(tmp_path / "a.ckpt", tiny_config(), policy="error")
    model = pp.load(tmp_path / "a.ckpt", device="cpu")
    (tmp_path / "a.fasta").write_text(FASTA + ">last one\nMK*\n")
    source, out = str(tmp_path / "a.fasta"), tmp_path / "out.npz"
    with pytest.raises(UserError, match=r"a\.fasta, line 12: last: .*'\*' at position 3"):
        embed_files(model, [source], out)
    assert not list(tmp_path.glob("out*"))
    counts = embed_files(model, [source], out, EmbeddingOptions(residue_policy="unknown"))
    assert (counts.proteins, counts.letters.unknown) == (6, 1)


def test_odd_input_is_counted_and_nothing_is_lost(model, tmp_path):
    odd = ">a\nmk tj-*\n>empty\n\n>a\nM\n" + "".join(f">{i}\nW\n" for i in range(10_000))
    (tmp_path / "odd.fasta").write_text(odd)
    counts = embed_files(model, [str(tmp_path / "odd.fasta")], tmp_path / "out.npz")
    assert (counts.proteins, counts.reading.empty, counts.letters.unknown) == (10_002, 1, 2)
    with np.load(tmp_path / "out.npz") as arrays:
        assert arrays["accession"][:3].tolist() == ["a", "a", "0"]
        assert arrays["length"][:3].tolist() == [6, 1, 1]
        assert np.ptp(arrays["embedding"][2:], axis=0).max() < 1e-5
