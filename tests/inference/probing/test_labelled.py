"""Labelled proteins as FLIP has them: read as they are, odd rows counted, errors with places."""

import gzip

import numpy as np
import pytest

from protein_performer.errors import UserError
from protein_performer.inference.probing.labelled_residues import read_labelled_residues
from protein_performer.inference.probing.labelled_table import read_labelled_table

HEADER = "sequence,target,set,validation\n"
ROWS = "MKTA,1.5,train,\nMKTC,-1,train,True\nMKTD,0,test,\n"


def table(tmp_path, text, task=None):
    (tmp_path / "a.csv").write_text(text)
    return read_labelled_table(tmp_path / "a.csv", task)


def test_a_table_of_numbers(tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress((HEADER + ROWS).encode()))
    found = read_labelled_table(tmp_path / "a.csv.gz")
    assert (found.task, found.classes) == ("regression", [])
    assert found.sequences == ["MKTA", "MKTC", "MKTD"]
    assert [each.tolist() for each in found.labels] == [[1.5], [-1], [0]]
    assert found.parts == ["train", "validation", "test"]
    assert found.names[1] == f"{tmp_path / 'a.csv.gz'}, line 3"
    assert list(found.warnings()) == []


def test_a_table_of_classes_with_further_columns_in_another_order(tmp_path):
    text = "set,target,id,validation,sequence\ntrain,nucleus,a,False,MK\ntrain,membrane,b,,MC\n"
    text += "train,membrane,c,true,MC\ntest,nucleus,d,,MC\n"
    found = table(tmp_path, text)
    assert (found.task, found.classes) == ("classification", ["membrane", "nucleus"])
    assert [each.tolist() for each in found.labels] == [[1], [0], [0], [1]]
    assert found.parts == ["train", "train", "validation", "test"]
    assert list(found.warnings()) == [
        "1 test proteins are also in training or validation, letter for letter"
    ]
    numbers = table(tmp_path, HEADER + ROWS + "MKTE,0,train,\n", "classification")
    assert numbers.classes == ["-1", "0", "1.5"]


def test_rows_with_something_missing_are_left_out_and_counted(tmp_path):
    text = HEADER + ",1,train,\nMK,,train,\nMK,nan,test,\nMK,1,,\n" + ROWS
    found = table(tmp_path, text)
    assert found.sequences == ["MKTA", "MKTC", "MKTD"]
    assert list(found.warnings()) == [
        "1 rows without a sequence, left out",
        "2 rows without a target, left out",
        "1 rows without a set, left out",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sequence,target\nMK,1\n", "line 1: expected a header .* set, validation not among"),
        ("", "expected a header with the columns"),
        (HEADER + "MK,1,train\n", "line 2: expected 4 cells, as in the header, got 3"),
        (HEADER + ROWS + "MK,high,train,\n", "line 5, column target: expected a number, got 'hi"),
        (HEADER + ROWS + "MK,inf,train,\n", "line 5, column target: .*--task classification"),
        (HEADER + ROWS + "MK,1,val,\n", "line 5, column set: expected train or test, got 'val'"),
        (HEADER + ROWS + "MK,1,train,yes\n", "line 5, column validation: expected True, False"),
        (HEADER + "MK,1,test,True\n", "line 2, column validation: True for a protein of the test"),
        (HEADER + "MK,1,train,\nMK,1,test,\n", "found none for validation"),
        (HEADER, "found none for train"),
    ],
)
def test_a_table_that_does_not_fit_is_an_error_with_line_and_column(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        table(tmp_path, text)


SEQUENCES = ">a-A\nMKTAY\n>b\nIAK\n>c\nQRQ\n"
LABELS = (
    ">a-A SET=train VALIDATION=False\nCHHEE\n>b SET=train VALIDATION=True\nHHC\n"
    ">c SET=test VALIDATION=False\nCCE\n"
)
MASK = ">a-A\n01110\n>b\n111\n>c\n101\n"


def folder(tmp_path, sequences=SEQUENCES, labels=LABELS, mask=MASK):
    for name, text in (("sequences", sequences), ("sampled", labels), ("mask", mask)):
        if text is not None:
            (tmp_path / f"{name}.fasta.gz").write_bytes(gzip.compress(text.encode()))
    return tmp_path


def test_three_files_of_residues(tmp_path):
    found = read_labelled_residues(folder(tmp_path))
    assert (found.task, found.classes) == ("residues", ["C", "E", "H"])
    assert found.names == ["a-A", "b", "c"]
    assert found.sequences == ["MKTAY", "IAK", "QRQ"]
    assert [each.tolist() for each in found.labels] == [[-1, 2, 2, 1, -1], [2, 2, 0], [0, -1, 1]]
    assert found.parts == ["train", "validation", "test"]
    assert list(found.warnings()) == []


def test_without_a_mask_every_label_counts_and_a_file_of_several_can_be_named(tmp_path):
    folder(tmp_path, mask=None)
    (tmp_path / "other.fasta").write_text(LABELS.replace("CCE", "CCH").replace("EE", "HH"))
    found = read_labelled_residues(tmp_path / "sampled.fasta.gz")
    assert found.labels[0].tolist() == [0, 2, 2, 1, 1]
    assert read_labelled_residues(tmp_path / "other.fasta").classes == ["C", "H"]
    with pytest.raises(UserError, match=r"one file of labels.*other.fasta, sampled.fasta.gz"):
        read_labelled_residues(tmp_path)


def test_proteins_that_a_file_lacks_are_left_out_and_counted(tmp_path):
    sequences = SEQUENCES + ">d\nMK\n>e\nMK\n>f\nMK\n"
    labels = LABELS + ">e SET=train\nCC\n>f SET=train\nCC\n>g SET=train\nCC\n"
    found = read_labelled_residues(folder(tmp_path, sequences, labels, MASK + ">f\n00\n"))
    assert found.names == ["a-A", "b", "c"]
    assert list(found.warnings()) == [
        "1 sequences without labels, left out",
        "1 sequences without a mask, left out",
        "1 proteins without a known label, left out",
        "1 labels without a sequence, left out",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": LABELS.replace("CHHEE", "CHHE")}, r"sampled.*line 1 \(a-A\): expected 5 let"),
        ({"mask": MASK.replace("101", "1011")}, r"mask.*line 5 \(c\): expected 3 letters"),
        ({"mask": MASK.replace("101", "1?1")}, r"mask.*line 5 \(c\): .* got '\?' at position 2"),
        ({"labels": LABELS.replace("SET=test ", "")}, r"sampled.*line 5 \(c\): expected SET="),
        ({"labels": LABELS.replace("=test", "=dev")}, r"line 5 \(c\), SET=: expected train"),
        ({"labels": LABELS.replace("N=True", "N=1")}, r"line 3 \(b\), VALIDATION=: expected True"),
        ({"sequences": SEQUENCES + ">b\nIAK\n"}, r"sequences.*line 7 \(b\): a second record"),
        ({"sequences": None}, r"expected sequences.fasta\(.gz\) there, found sampled.fasta.gz"),
        ({"labels": None}, "expected one file of labels beside sequences.fasta.gz, found none"),
    ],
)
def test_files_that_do_not_fit_each_other_are_an_error_with_the_line(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        read_labelled_residues(folder(tmp_path, **change))


def test_labels_are_those_of_the_residues_in_order_whatever_the_order_of_the_files(tmp_path):
    records = LABELS.strip().split("\n>")
    records = [each.removeprefix(">") for each in records]
    turned = "".join(f">{each}\n" for each in reversed(records))
    found = read_labelled_residues(folder(tmp_path, labels=turned))
    assert found.parts == ["train", "validation", "test"]
    np.testing.assert_array_equal(found.labels[1], [2, 2, 0])
