import h5py
import numpy as np
import pytest
from tiny import tiny_config, write_checkpoint

import protein_performer as pp
from protein_performer.errors import UserError
from protein_performer.inference import encoded_proteins
from protein_performer.inference.embed import embed_file

LONG_HEADER = "x" * 300
FASTA = f""">tr|A0A1|A_B first
MKTAYIAK
QR
>a/b twice
ACDEF
>a/b twice
ACDEFGHIKL
>{LONG_HEADER}
M
"""


@pytest.fixture
def model(tmp_path):
    write_checkpoint(tmp_path / "a.ckpt", tiny_config())
    return pp.load(tmp_path / "a.ckpt", device="cpu")


@pytest.fixture
def fasta(tmp_path):
    path = tmp_path / "proteins.fasta"
    path.write_text(FASTA)
    return str(path)


@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_every_record_has_its_row_in_the_order_of_the_file(
    model, fasta, tmp_path, monkeypatch, at_once
):
    monkeypatch.setattr(encoded_proteins, "CHUNK_RECORDS", at_once)
    out = tmp_path / "deep" / "out.h5"
    counts = embed_file(model, fasta, out, attributes={"checkpoint": "a.ckpt"})
    assert (counts.proteins, counts.residues) == (4, 26)
    wanted = model.embed(["MKTAYIAKQR", "ACDEF", "ACDEFGHIKL", "M"]).numpy()
    with h5py.File(out) as file:
        assert file["accession"].asstr()[:].tolist() == ["A0A1", "a/b", "a/b", LONG_HEADER]
        assert file["length"][:].tolist() == [10, 5, 10, 1]
        np.testing.assert_allclose(file["embedding"][:], wanted, rtol=1e-5, atol=1e-5)
        assert file.attrs["pooling"] == "mean"
        assert file.attrs["checkpoint"] == "a.ckpt"


def test_residue_rows_are_found_by_offset(model, fasta, tmp_path):
    embed_file(model, fasta, tmp_path / "out.h5", pooling="residue", dtype="float16")
    wanted = model.embed(["ACDEFGHIKL"], pooling="residue")[0].numpy()
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["offset"][:].tolist() == [0, 10, 15, 25, 26]
        rows = file["embedding"][15:25]
        assert rows.dtype == np.float16
        np.testing.assert_allclose(rows, wanted, rtol=1e-3, atol=2e-3)


def test_nothing_is_overwritten_and_nothing_appears_half_written(model, fasta, tmp_path):
    out = tmp_path / "out.h5"
    out.write_text("precious")
    with pytest.raises(UserError, match="exists"):
        embed_file(model, fasta, out)
    assert out.read_text() == "precious"
    (tmp_path / "bad.fasta").write_text(FASTA + "@not fasta >\n")
    with pytest.raises(UserError):
        embed_file(model, str(tmp_path / "bad.fasta"), tmp_path / "bad.h5")
    assert not (tmp_path / "bad.h5").exists()


def test_a_dtype_that_hdf5_readers_do_not_know_is_refused(model, fasta, tmp_path):
    with pytest.raises(UserError, match="float32 or float16"):
        embed_file(model, fasta, tmp_path / "out.h5", dtype="bfloat16")
