"""Folders of plain text: every byte once, in the split of its folder."""

import logging

import numpy as np
import pytest
from made_up_books import write_books

from protein_performer.batch import IGNORE
from protein_performer.byte_alphabet import ByteAlphabet
from protein_performer.data.datamodule import ProteinDataModule
from protein_performer.data.manifest import open_split, read_manifest, verify
from protein_performer.data.objectives import NextToken
from protein_performer.data.origins import prepared_folder
from protein_performer.data.preparing.books import BookPreprocessing
from protein_performer.data.preparing.pipeline import prepare
from protein_performer.data.splits import SplitRule
from protein_performer.errors import UserError

TEXT = ByteAlphabet()
SPLIT = {"train": "train", "validation": "val", "test": "test"}


def stored(out):
    """accession -> (split, text) of the books that take part."""
    manifest, found = read_manifest(out), {}
    for name in SPLIT.values():
        split = open_split(out, manifest, name)
        for i in split.by_length().tolist() if len(split) else []:
            found[split.accession(i)] = (name, TEXT.decode(split.residues(i)))
    return found


def expected(books):
    return {path: (SPLIT[path.split("/")[0]], text) for path, text in books.items()}


def files_of(folder):
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "library"


def test_every_book_is_in_the_split_of_its_folder(tmp_path, folder):
    books = write_books(folder)
    manifest = prepare([str(folder)], tmp_path / "out", BookPreprocessing())
    assert stored(tmp_path / "out") == expected(books)
    size = sum(len(text.encode()) for text in books.values())
    assert manifest["read"]["residues"] == manifest["read"]["bytes_read"] == size
    assert manifest["read"]["records"] == manifest["read"]["files"] == len(books)
    train = "".join(text for path, text in books.items() if path.startswith("train")).encode()
    counts = np.bincount(np.frombuffer(train, np.uint8), minlength=256)
    told = np.array(manifest["splits"]["train"]["residue_counts"])
    assert told.tolist() == [0] * 4 + np.delete(counts, [0xC0, 0xC1, *range(0xF5, 256)]).tolist()
    assert verify(tmp_path / "out").residues == size


class Stop(Exception):
    pass


def test_stopped_after_every_book_it_goes_on_to_the_same_bytes(tmp_path, folder, monkeypatch):
    """Empty books and copies are counted once, however often it was stopped; also by workers."""
    books = write_books(folder)
    (folder / "train" / "1.txt").write_bytes(b"")
    (folder / "train" / "2.txt").write_text(books["test/0.txt"])
    prepare([str(folder)], tmp_path / "whole", BookPreprocessing(), workers=2)
    monkeypatch.setattr("protein_performer.data.preparing.tokenizer._BUNDLE", 1)

    def stop(done, total, records):
        raise Stop

    stops = 0
    while not (tmp_path / "parts").exists():
        try:
            options = {"on_progress": stop, "commit_seconds": 0}
            prepare([str(folder)], tmp_path / "parts", BookPreprocessing(), **options)
        except Stop:
            stops += 1
    assert stops == len(books) - 1  # the empty one comes with the next
    assert files_of(tmp_path / "parts") == files_of(tmp_path / "whole")
    manifest = read_manifest(tmp_path / "whole")
    assert manifest["read"]["blank"] == 1
    assert manifest["splits"]["train"]["copies_across_splits"] == 1
    assert sorted(stored(tmp_path / "whole")) == sorted({*books} - {"train/1.txt", "train/2.txt"})


def test_a_book_in_another_folder_is_prepared_anew_and_moves(tmp_path, folder):
    books = write_books(folder)
    before = prepared_folder([str(folder)], BookPreprocessing(), None)
    assert before.parent == tmp_path / "prepared"
    (folder / "train" / "0.txt").rename(folder / "test" / "00.txt")
    after = prepared_folder([str(folder)], BookPreprocessing(), None)
    assert after != before
    prepare([str(folder)], after, BookPreprocessing())
    assert stored(after)["test/00.txt"] == ("test", books["train/0.txt"])


def test_rows_hold_every_byte_once_and_an_end_behind_each_book(folder):
    books = write_books(folder)
    module = text_module(folder)
    loaders = [module.train_dataloader(), module.val_dataloader(), *module.test_dataloader()]
    for name, loader in zip(SPLIT, loaders, strict=True):
        rows = {
            int(record): targets[targets != IGNORE].tolist()
            for batch in loader
            for targets, record in zip(batch.targets, batch.records, strict=True)
        }
        stream = [code for _, row in sorted(rows.items()) for code in row]
        wanted = [f"{text}<eos>" for path, text in books.items() if path.startswith(name)]
        assert TEXT.decode(np.array(stream)) == "".join(wanted)
    text = str(module.report())
    assert "books" in text
    assert "proteins" not in text
    assert "residue" not in text


def text_module(folder, **options):
    defaults = {"context": "concat", "max_length": 64, "crop": None, "batch_tokens": 512}
    return ProteinDataModule(
        str(folder), NextToken(), None, alphabet=TEXT, **{**defaults, **options}
    )


def test_bytes_that_are_not_utf_8_are_an_error_or_counted(tmp_path, folder):
    write_books(folder)
    (folder / "train" / "latin.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(UserError, match=r"latin\.txt: .* 0xE9 at byte 4"):
        prepare([str(folder)], tmp_path / "out", BookPreprocessing())
    assert not (tmp_path / "out").exists()
    for policy, field, text in (
        ("unknown", "unknown", "caf\ufffd\n"),
        ("skip", "skipped", "caf\n"),
    ):
        manifest = prepare([str(folder)], tmp_path / policy, BookPreprocessing(policy))
        assert manifest["residues"][field] == manifest["splits"]["train"]["characters"][field] == 1
        assert stored(tmp_path / policy)["train/latin.txt"] == ("train", text)


def test_empty_books_are_counted_and_what_is_no_book_is_told(tmp_path, folder, caplog):
    write_books(folder)
    (folder / "test" / "empty.txt").write_bytes(b"")
    (folder / "test" / "notes.md").write_text("x")
    with caplog.at_level(logging.WARNING):
        prepare([str(folder)], tmp_path / "out", BookPreprocessing())
    assert "1 file(s) are no .txt and not read, such as notes.md" in caplog.text
    warnings = text_module(folder).report().folder.warnings
    assert [w for w in warnings if "no text in it" in w and w.endswith("empty.txt")] == warnings


def test_sources_that_are_no_library_are_refused(tmp_path, folder):
    def told(*sources):
        with pytest.raises(UserError) as told:
            BookPreprocessing().expand([str(each) for each in sources])
        return str(told.value)

    assert "there is no such folder" in told(tmp_path / "nowhere")
    write_books(folder)
    assert "named twice" in told(folder, folder)
    for path in (folder / "validation").iterdir():
        path.unlink()
    assert "validation: expected .txt files, found none" in told(folder)
    (folder / "validation").rmdir()
    assert "there is no validation" in told(folder)


def test_books_without_any_text_are_refused(tmp_path, folder):
    for path in write_books(folder):
        (folder / path).write_bytes(b"")
    with pytest.raises(UserError, match="at least one book"):
        prepare([str(folder)], tmp_path / "out", BookPreprocessing())


def test_an_empty_split_is_told_and_splits_are_not_given(folder):
    for path in write_books(folder):
        if path.startswith("test"):
            (folder / path).write_bytes(b"")
    with pytest.raises(UserError, match=r"the test split is empty\. Give more records"):
        text_module(folder).setup("test")
    with pytest.raises(UserError, match=r"data\.splits: expected null with text"):
        ProteinDataModule(str(folder), NextToken(), SplitRule(0.1, 0.1), alphabet=TEXT)
    with pytest.raises(UserError, match=r"data\.splits: expected a rule"):
        ProteinDataModule(str(folder), NextToken(), None)


def test_residues_are_counted_without_copies(tmp_path, folder):
    books = write_books(folder, count=3)
    for i in range(20):
        (folder / "train" / f"copy{i}.txt").write_text(books["train/0.txt"] if i % 2 else "a")
    manifest = prepare([str(folder)], tmp_path / "out", BookPreprocessing())
    train = "".join(books[f"train/{i}.txt"] for i in range(3)) + "a"
    codes = TEXT.encode(train)
    told = manifest["splits"]["train"]["residue_counts"]
    assert told == np.bincount(codes, minlength=len(TEXT)).tolist()
