"""Each format holds the same: read back by its own library."""

import json
import subprocess
import sys
from itertools import pairwise

import h5py
import numpy as np
import pyarrow.parquet
import pytest
from embedding_sources import ACCESSIONS, FASTA, LENGTHS, SEQUENCES
from safetensors.numpy import load_file
from tiny import tiny_config, write_checkpoint

import protein_performer as pp
from protein_performer.errors import UserError
from protein_performer.inference import encoded_proteins
from protein_performer.inference.embedding.embed_files import embed_files
from protein_performer.inference.embedding.embedding_plan import EmbeddingOptions

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
OFFSETS = [0, 10, 15, 25, 28, 29]


@pytest.fixture(params=[1, 2, 1000])
def chunk_records(request, monkeypatch):
    monkeypatch.setattr(encoded_proteins, "CHUNK_RECORDS", request.param)


@pytest.fixture
def model(tmp_path):
    write_checkpoint(tmp_path / "a.ckpt", tiny_config())
    return pp.load(tmp_path / "a.ckpt", device="cpu")


def embed(model, folder, name, **options):
    (folder / "a.fasta").write_text(FASTA)
    out = folder / "deep" / name
    counts = embed_files(model, [str(folder / "a.fasta")], out, EmbeddingOptions(**options))
    assert counts.written
    assert [each.name for each in out.parent.iterdir()] == [name]
    return out


def read_npz(path):
    with np.load(path) as arrays:
        return dict(arrays), json.loads(str(arrays["manifest"]))


def read_h5(path):
    with h5py.File(path) as file:
        arrays = {name: file[name][:] for name in file}
        arrays["accession"] = file["accession"].asstr()[:]
        return arrays, json.loads(file.attrs["manifest"])


def read_safetensors(path):
    arrays = load_file(path)
    ends, names = arrays["accession_offset"], arrays["accession"].tobytes()
    arrays["accession"] = np.array([names[begin:end].decode() for begin, end in pairwise(ends)])
    header = json.loads(path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")])
    return arrays, json.loads(header["__metadata__"]["manifest"])


READERS = {".npz": read_npz, ".h5": read_h5, ".hdf5": read_h5, ".safetensors": read_safetensors}


@pytest.mark.parametrize("suffix", READERS)
@pytest.mark.parametrize("pooling", ["mean", "residue"])
@pytest.mark.usefixtures("chunk_records")
def test_arrays(model, tmp_path, suffix, pooling):
    out = embed(model, tmp_path, f"out{suffix}", pooling=pooling)
    arrays, manifest = READERS[suffix](out)
    assert arrays["accession"].tolist() == ACCESSIONS
    assert arrays["length"].tolist() == LENGTHS
    wanted = model.embed(SEQUENCES, pooling=pooling)
    wanted = (
        wanted.numpy() if pooling == "mean" else np.concatenate([each.numpy() for each in wanted])
    )
    assert arrays["embedding"].dtype == np.float32
    np.testing.assert_allclose(arrays["embedding"], wanted, **CLOSE)
    if pooling == "residue":
        assert arrays["offset"].tolist() == OFFSETS
    assert manifest["counts"]["proteins"] == 5
    assert manifest["config"]["model"]["d_model"] == 16
    assert len(manifest["checkpoint_sha256"]) == 64


@pytest.mark.parametrize("suffix", READERS)
def test_layers_have_arrays_of_their_own_and_a_dtype_of_choice(model, tmp_path, suffix):
    out = embed(model, tmp_path, f"out{suffix}", layers=(-1, 0), dtype="float16", pooling="max")
    arrays, manifest = READERS[suffix](out)
    for name, layer in (("embedding_2", -1), ("embedding_0", 0)):
        wanted = model.embed(SEQUENCES, "max", layer=layer).numpy()
        assert arrays[name].dtype == np.float16
        np.testing.assert_allclose(arrays[name], wanted, rtol=2e-3, atol=2e-3)
    assert manifest["layers"] == [-1, 0]


@pytest.mark.parametrize("pooling", ["mean", "residue"])
@pytest.mark.usefixtures("chunk_records")
def test_parquet(model, tmp_path, pooling):
    table = pyarrow.parquet.read_table(embed(model, tmp_path, "out.parquet", pooling=pooling))
    columns = table.to_pydict()
    wanted = model.embed(SEQUENCES, pooling=pooling)
    if pooling == "mean":
        assert columns["accession"] == ACCESSIONS
        assert columns["length"] == LENGTHS
        wanted = wanted.numpy()
    else:
        assert columns["accession"] == list(np.array(ACCESSIONS).repeat(LENGTHS))
        assert columns["position"] == [i for length in LENGTHS for i in range(1, length + 1)]
        wanted = np.concatenate([each.numpy() for each in wanted])
    np.testing.assert_allclose(np.array(columns["embedding"]), wanted, **CLOSE)
    assert json.loads(table.schema.metadata[b"manifest"])["pooling"] == pooling


@pytest.mark.parametrize("pooling", ["mean", "residue"])
@pytest.mark.usefixtures("chunk_records")
def test_the_layout_of_uniprot(model, tmp_path, pooling):
    """A dataset for each accession; slashes make no groups, and duplicates keep their order."""
    out = embed(model, tmp_path, "out.h5", pooling=pooling, layout="uniprot")
    wanted = model.embed(SEQUENCES, pooling=pooling)
    with h5py.File(out) as file:
        assert list(file) == ["A0A1", "a_b", "a_b__2", "_", ACCESSIONS[-1]]
        assert [each.attrs["original_id"] for each in file.values()] == ACCESSIONS
        for dataset, vectors in zip(file.values(), wanted, strict=True):
            np.testing.assert_allclose(dataset[()], vectors.numpy(), **CLOSE)


FULL = """
import resource, signal, sys
from pathlib import Path
import protein_performer as pp
from protein_performer.inference.embedding.embed_files import embed_files
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
model = pp.load(sys.argv[1], device="cpu")
from protein_performer.inference.embedding import embed_files as module
write = module.write_embeddings
def limited(*args):
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
    write(*args)
module.write_embeddings = limited
try:
    embed_files(model, [sys.argv[2]], Path(sys.argv[3]))
except OSError as error:
    print("told:", error.errno)
"""


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".safetensors", ".parquet"])
def test_a_full_disk_is_an_error_and_what_is_done_stays(model, tmp_path, suffix):
    """A limit of the file's size stands for the disk: HDF5 crashed at the process's end."""
    source, out = tmp_path / "a.fasta", tmp_path / f"out{suffix}"
    source.write_text("".join(f">{i}\nMKTAYIAK\n" for i in range(200)))
    command = [sys.executable, "-c", FULL, str(tmp_path / "a.ckpt"), str(source), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "told: 27\n"), done.stderr[-2000:]
    assert not out.exists()
    counts = embed_files(model, [str(source)], out)
    assert (counts.reused, counts.written) == (200, True)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("out.csv", {}, r"out\.csv: expected a name that ends in \.h5, .*\.safetensors"),
        ("out", {}, "expected a name that ends in"),
        ("out.npz", {"layout": "uniprot"}, r"layout=uniprot is of HDF5 files: expected out\.h5"),
        ("out.h5", {"layout": "tree"}, "layout: expected matrix or uniprot, got 'tree'"),
        ("out.h5", {"dtype": "bfloat16"}, "float32 or float16"),
        ("out.h5", {"layers": (3,)}, "layers: expected -3 to 2 of a model of 2 blocks, got 3"),
        ("out.h5", {"layers": (2, -1)}, "layers: expected different ones"),
        ("out.h5", {"pooling": "cls"}, "pooling: expected mean, max, bos, eos or residue"),
        ("out.h5", {"window": 0}, "window: expected at least 1"),
        ("folder.h5", {}, "expected a file to write, this is a folder"),
        ("there.h5", {}, "the file exists"),
    ],
)
def test_what_cannot_be_is_refused_before_the_work(model, tmp_path, name, options, message):
    (tmp_path / "folder.h5").mkdir()
    (tmp_path / "there.h5").write_text("precious")
    with pytest.raises(UserError, match=message):
        embed_files(model, ["none.fasta"], tmp_path / name, EmbeddingOptions(**options))
    assert (tmp_path / "there.h5").read_text() == "precious"
