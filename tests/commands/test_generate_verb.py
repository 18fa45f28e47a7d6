import pytest
from tiny import RELU, tiny_config, write_checkpoint

from protein_performer.cli import main
from protein_performer.commands.generate import parse_places
from protein_performer.data.reading.reader import read_records
from protein_performer.errors import UserError


@pytest.fixture
def checkpoint(tmp_path):
    def write(objective):
        write_checkpoint(tmp_path / "a.ckpt", tiny_config(objective, RELU))
        return str(tmp_path / "a.ckpt")

    return write


def test_writes_fasta_that_reads_back(tmp_path, checkpoint, capsys):
    out = tmp_path / "new.fasta"
    arguments = ["-n", "4", "--max-length", "70", "--prompt", "MKT", "--device", "cpu"]
    assert main(["generate", checkpoint("causal"), str(out), *arguments]) == 0
    records = list(read_records(str(out)))
    assert [record.accession for record in records] == [f"generated_{i}" for i in (1, 2, 3, 4)]
    assert all(record.sequence.startswith("MKT") for record in records)
    assert all("log_likelihood=-" in record.description for record in records)
    assert max(map(len, out.read_text().splitlines())) <= 70
    assert "4 proteins" in capsys.readouterr().out


def test_fills_in_masked_places(tmp_path, checkpoint):
    out = tmp_path / "filled.fasta"
    arguments = ["--sequence", "MKTAYIAK", "--mask", "2-3,8", "-n", "3"]
    assert main(["generate", checkpoint("mlm"), str(out), *arguments]) == 0
    for record in read_records(str(out)):
        assert record.sequence[0] + record.sequence[3:7] == "MAYIA"


def test_only_at_masked_places_may_something_stand_that_is_no_residue(tmp_path, checkpoint, capsys):
    command = ["generate", checkpoint("mlm"), str(tmp_path / "filled.fasta"), "--sequence"]
    assert main([*command, "M**AYI-K", "--mask", "2-3"]) == 1
    assert "sequence: expected residues" in capsys.readouterr().err
    assert main([*command, "M**AYI-K", "--mask", "2-3,7"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mask", "3"], "go together"),
        (["--temperature", "-1"], "temperature: expected"),
        (["--prompt", "MK*"], "prompt: expected residues ACDEFGHIKLMNPQRSTVWYBJOUXZ, got 'MK*'"),
        (["--prompt", "MKT", "--max-length", "2"], "more than the 3 residues"),
    ],
)
def test_mistakes_are_said_in_a_line_and_write_nothing(
    tmp_path, checkpoint, capsys, arguments, message
):
    out = tmp_path / "new.fasta"
    assert main(["generate", checkpoint("causal"), str(out), *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert not out.exists()


def test_an_existing_file_is_replaced_only_when_asked(tmp_path, checkpoint, capsys):
    out = tmp_path / "new.fasta"
    out.write_text("precious")
    assert main(["generate", checkpoint("causal"), str(out)]) == 1
    assert "the file exists" in capsys.readouterr().err
    assert out.read_text() == "precious"
    arguments = ["--max-length", "5", "--overwrite"]
    assert main(["generate", checkpoint("causal"), str(out), *arguments]) == 0
    assert out.read_text().startswith(">generated_1 ")


@pytest.mark.parametrize("text", ["", "a", "3-", "1,,2", "2-b"])
def test_places_that_are_no_numbers(text):
    with pytest.raises(UserError, match="expected places such as"):
        parse_places(text)
