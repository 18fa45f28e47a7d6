import gzip

import numpy as np
import pytest

from protein_performer.alphabet import Alphabet
from protein_performer.errors import UserError
from protein_performer.inference.scoring.mutations import parse_variant
from protein_performer.inference.scoring.variant_file import read_variants

WILD_TYPE = "MKTAY"
PROTEINGYM = """mutant,mutated_sequence,DMS_score,DMS_score_bin
M1A,AKTAY,0.5,0
K2R:T3W,MRWAY,-1.25,1
A4G,MKTGY,,1
"""


def read(tmp_path, text, column=None, name="DMS.csv"):
    path = tmp_path / name
    path.write_text(text)
    return read_variants(path, WILD_TYPE, Alphabet().letters, column)


def test_proteingyms_files_are_read_as_they_are(tmp_path):
    table = read(tmp_path, PROTEINGYM)
    assert table.mutants == ["M1A", "K2R:T3W", "A4G"]
    assert table.variants[1] == parse_variant("K2R:T3W")
    assert table.column == "DMS_score"
    np.testing.assert_array_equal(table.measured, [0.5, -1.25, np.nan])
    assert table.fit.tolist() == [False, True, True]
    assert table.fit_column == "DMS_score_bin"


def test_without_a_column_of_its_own_fit_is_at_least_the_median(tmp_path):
    text = "mutant\tactivity\nM1A\t1\nK2R\t3\nT3W\t2\nA4G\t\n"
    table = read(tmp_path, text, "activity", "DMS.tsv")
    assert table.fit.tolist() == [False, True, True, False]
    assert table.fit_column is None


def test_a_plain_list_and_gzip_and_line_ends_of_windows(tmp_path):
    table = read(tmp_path, "M1A\nK2R:T3W\nWT\n", name="list.txt")
    assert table.mutants == ["M1A", "K2R:T3W", "WT"]
    assert table.column is None
    assert np.isnan(table.measured).all()
    path = tmp_path / "DMS.csv.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + PROTEINGYM.replace("\n", "\r\n").encode()))
    found = read_variants(path, WILD_TYPE, Alphabet().letters)
    assert found.mutants == ["M1A", "K2R:T3W", "A4G"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mutant\nM1A\nA2G\n", r"DMS.csv, line 3: A2G: residue 2 of the wild type is K, not A"),
        ("mutant\nY6A\n", "line 2: Y6A: there is no residue 6, the wild type has 5"),
        ("mutant\nM1\n", "line 2: expected mutations such as A123G"),
        ("mutant\n\nM1A,4\n", "line 3: expected 1 cells, as in the header, got 2"),
        ("mutant,DMS_score\nM1A,high\n", "line 2: DMS_score: expected a number, got 'high'"),
        ("mutant,DMS_score\nM1A,inf\n", "line 2: DMS_score: expected a number, got 'inf'"),
        ("mutant,mutated_sequence\nM1A,AKTAW\n", "line 2: mutated_sequence .* residue 5 is W"),
        ("mutant,mutated_sequence\nM1A,AKTA\n", "it has 4 residues, the wild type 5"),
        ("variant,DMS_score\nM1A,1\n", "expected a header with the column 'mutant'"),
        ("mutant\n", "expected variants, found none"),
        ("", "expected a header"),
        ('mutant\n"M1A\n', "damaged"),
    ],
)
def test_what_does_not_fit_is_an_error_with_its_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, text)


def test_a_column_that_is_not_there_is_named_beside_those_that_are(tmp_path):
    with pytest.raises(UserError, match=r"no column .activity.*There are: mutant, mutated_seq"):
        read(tmp_path, PROTEINGYM, "activity")


def test_a_binary_file_is_an_error(tmp_path):
    (tmp_path / "DMS.csv").write_bytes(bytes(range(256)))
    (tmp_path / "DMS.csv.gz").write_bytes(gzip.compress(PROTEINGYM.encode())[:-12])
    for name in ("DMS.csv", "DMS.csv.gz"):
        with pytest.raises(UserError, match="not a text file of variants, or damaged"):
            read_variants(tmp_path / name, WILD_TYPE, Alphabet().letters)
