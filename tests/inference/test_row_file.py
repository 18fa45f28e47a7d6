import csv
import sys

import numpy as np
import pyarrow.parquet
import pytest

from protein_performer.errors import UserError
from protein_performer.inference.row_file import writing_rows

ROWS = [
    {"accession": ["a,1", 'b"2'], "residues": [3, 4], "score": np.array([-1.5, np.nan])},
    {"accession": ["/../c"], "residues": [5], "score": np.array([1e-300])},
]


def write(path, **options):
    with writing_rows(path, **options) as rows:
        for each in ROWS:
            rows.append(each)


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_text_comes_back_as_it_was(tmp_path, suffix, delimiter):
    write(tmp_path / f"new/rows{suffix}")
    with (tmp_path / f"new/rows{suffix}").open(newline="") as file:
        found = list(csv.DictReader(file, delimiter=delimiter))
    assert [row["accession"] for row in found] == ["a,1", 'b"2', "/../c"]
    assert [float(row["score"]) for row in found] == pytest.approx(
        [-1.5, np.nan, 1e-300], nan_ok=True
    )


def test_parquet_keeps_types_lists_and_facts(tmp_path):
    vectors = np.arange(6, dtype=np.float16).reshape(3, 2)
    with writing_rows(tmp_path / "rows.parquet", metadata={"checkpoint": "abc"}) as rows:
        rows.append({"name": ["a", "b"], "vector": vectors[:2]})
        rows.append({"name": ["c"], "vector": vectors[2:]})
    table = pyarrow.parquet.read_table(tmp_path / "rows.parquet")
    assert table["name"].to_pylist() == ["a", "b", "c"]
    assert table["vector"].to_pylist() == vectors.tolist()
    assert table.schema.field("vector").type.value_type == "halffloat"
    assert table.schema.metadata[b"checkpoint"] == b"abc"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_nothing_stays_of_rows_that_failed(tmp_path, suffix):
    with pytest.raises(RuntimeError), writing_rows(tmp_path / f"rows{suffix}") as rows:  # noqa: PT012
        rows.append(ROWS[0])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_cannot_be_is_an_error_before_any_work(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("precious")
    with pytest.raises(UserError, match="the file exists"):
        write(path)
    assert path.read_text() == "precious"
    write(path, overwrite=True)
    assert path.read_text().startswith("accession,")
    with pytest.raises(UserError, match=r"expected a name that ends in \.csv"):
        write(tmp_path / "rows.txt")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UserError, match="this is a folder"):
        write(tmp_path / "folder.csv", overwrite=True)


def test_without_pyarrow_the_cure_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"protein-performer\[parquet\]"):
        write(tmp_path / "rows.parquet")
