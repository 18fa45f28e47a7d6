import json
import subprocess
import sys

import h5py
import pytest
from tiny import tiny_config, write_checkpoint

import protein_performer as pp
from protein_performer.cli import main
from protein_performer.commands import verbs


@pytest.fixture
def checkpoint(tmp_path):
    write_checkpoint(tmp_path / "best.ckpt", tiny_config())
    return str(tmp_path / "best.ckpt")


@pytest.fixture
def fasta(tmp_path):
    path = tmp_path / "proteins.fasta"
    path.write_text(">tr|A0A1|X first\nMKTAYIAK\n>b\nACDEF\n")
    return str(path)


@pytest.mark.parametrize("verb", sorted(verbs().keys() - {"train"}))  # its words are Hydra's
def test_every_verbs_help_shows_an_example(verb, capsys):
    with pytest.raises(SystemExit) as end:
        main([verb, "--help"])
    assert end.value.code == 0
    told = capsys.readouterr().out
    examples = [line for line in told.splitlines() if line.startswith("  protein-performer ")]
    assert any(line.split()[1] == verb for line in examples)
    assert "--json" in told


def test_embed_writes_the_file_and_the_figures(checkpoint, fasta, tmp_path, capsys):
    out, figures = tmp_path / "out.h5", tmp_path / "figures.json"
    code = main(["embed", checkpoint, fasta, str(out), "--device", "cpu", "--json", str(figures)])
    assert code == 0
    assert "2 proteins, 13 residues" in capsys.readouterr().out
    assert json.loads(figures.read_text())["proteins"] == 2
    with h5py.File(out) as file:
        assert file["embedding"].shape == (2, 16)
        assert file.attrs["objective"] == "mlm"


def test_evaluate_prints_model_and_baseline(checkpoint, fasta, tmp_path, capsys):
    figures = tmp_path / "figures.json"
    assert main(["evaluate", checkpoint, fasta, "--device", "cpu", "--json", str(figures)]) == 0
    told = capsys.readouterr().out
    assert "empirical baseline" in told
    values = json.loads(figures.read_text())
    assert f"{values['perplexity']:.3f}" in told
    assert values["files"][fasta]["perplexity"] == values["perplexity"]


def test_evaluate_takes_several_files_and_the_training_set(checkpoint, fasta, tmp_path, capsys):
    other = tmp_path / "other.fasta"
    other.write_text(">o\nMKTAYIAKQRQISFVKSHFSRQ\n")
    figures = tmp_path / "figures.json"
    command = ["evaluate", checkpoint, fasta, str(other), "--train", str(other), "--per-residue"]
    assert main([*command, "--json", str(figures)]) == 0
    values = json.loads(figures.read_text())
    parts = values["files"]
    assert list(parts) == [fasta, str(other)]
    assert values["residues"] == sum(each["residues"] for each in parts.values())
    assert values["proteins"] == sum(each["proteins"] for each in parts.values())
    assert parts[str(other)]["perplexity_low"] is None  # of one protein
    assert len(values["ngram_perplexity"]) == 5
    told = capsys.readouterr().out
    assert f"{other}:" in told
    assert "together:" in told
    assert "n-grams of the training set, orders 1 to 5" in told
    assert told.count("predicted") == 3


def test_compare_lists_finished_runs_best_first(tmp_path, capsys):
    for name, perplexity in (("a", 17.0), ("b", 16.0)):
        (tmp_path / name).mkdir()
        metrics = {
            "model/name": name,
            "objective": "mlm",
            "seed": 0,
            "model/parameters": 1000,
            "train/steps": 10,
            "train/seconds": 2.0,
            "train/residues": 500,
        }
        for split in ("test", "ood"):
            metrics |= {f"{split}/accuracy": 0.1, f"{split}/perplexity": perplexity}
            metrics |= {f"{split}/empirical_perplexity": 18.0}
        (tmp_path / name / "metrics.json").write_text(json.dumps(metrics))
    (tmp_path / "unfinished").mkdir()
    folders = [str(tmp_path / name) for name in ("a", "b", "unfinished")]
    assert main(["compare", *folders]) == 0
    told = capsys.readouterr().out
    assert told.index("16.000") < told.index("17.000")
    assert "left out" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["embed", "none.ckpt", "none.fasta", "out.h5"], "no such checkpoint"),
        (["evaluate", "none.ckpt", "none.fasta"], "no such checkpoint"),
        (["compare", "nowhere"], "metrics.json"),
    ],
)
def test_a_mistake_is_one_message_without_a_traceback(arguments, message, capsys):
    assert main(arguments) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert message in told
    assert "Traceback" not in told


def test_the_console_script_is_the_same_door(fasta):
    """As a user starts it, in a process of its own: exit code 1, one message, no traceback."""
    command = [sys.executable, "-m", "protein_performer.cli", "evaluate", "none.ckpt", fasta]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: none.ckpt: there is no such checkpoint")


def test_python_m_is_the_same_door_and_tells_the_version():
    command = [sys.executable, "-m", "protein_performer", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == pp.__version__
    assert {"load", "Sampling", "TrainedModel", "__version__"} <= set(dir(pp))


def test_the_list_of_verbs_is_read_without_torch():
    code = (
        "import sys; from protein_performer.cli import main\n"
        "try:\n    main(['--help'])\nfinally:\n    print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("False")
    for verb, summary in verbs().items():
        assert verb in done.stdout
        assert summary


def test_a_runs_folder_is_a_checkpoint(checkpoint, fasta, tmp_path, capsys):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (tmp_path / "best.ckpt").rename(run / "checkpoints" / "best.ckpt")
    assert main(["evaluate", str(run), fasta, "--device", "cpu"]) == 0
    assert capsys.readouterr().out.startswith("2 proteins")


def test_proteins_may_come_from_standard_input(checkpoint, fasta, tmp_path):
    command = [sys.executable, "-m", "protein_performer", "evaluate", checkpoint, "-"]
    with open(fasta) as stream:
        done = subprocess.run(command, stdin=stream, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith("2 proteins")


def test_ones_own_package_is_trusted_on_the_command_line(fasta, tmp_path, capsys):
    config = tiny_config(attention={"_target_": "my_lab.attention.MeanOfPast"})
    write_checkpoint(tmp_path / "mine.ckpt", config, trusted_packages=["my_lab"])
    command = ["evaluate", str(tmp_path / "mine.ckpt"), fasta, "--device", "cpu"]
    assert main(command) == 1
    assert "--trust my_lab" in capsys.readouterr().err
    assert main([*command, "--trust", "my_lab"]) == 0
    assert capsys.readouterr().out.startswith("2 proteins")


def test_a_new_verb_is_one_file(tmp_path):
    (tmp_path / "attention_maps.py").write_text(
        '"""Look at attention, 100 % of it.\n\n  example\n"""\n\n\ndef run(args):\n    return {}\n'
    )
    (tmp_path / "shared.py").write_text('"""What verbs share."""\n\n\ndef other():\n    pass\n')
    assert verbs(tmp_path) == {"attention-maps": "Look at attention, 100 % of it"}


def test_a_verb_that_failed_in_part_says_so_by_its_exit_code(monkeypatch, tmp_path):
    class Command:
        __doc__ = "A verb."

        @staticmethod
        def add_arguments(parser):
            parser.add_argument("what")

        @staticmethod
        def run(args):
            return {"failed": [args.what] if args.what == "bad" else []}

    monkeypatch.setattr("importlib.import_module", lambda name: Command)
    assert main(["compare", "good"]) == 0
    assert main(["compare", "bad", "--json", str(tmp_path / "a.json")]) == 1
    assert json.loads((tmp_path / "a.json").read_text()) == {"failed": ["bad"]}


@pytest.mark.parametrize(
    ("missing", "arguments"),
    [
        ("transformers", ["export", "run", "out"]),
        ("huggingface_hub", ["embed", "facebook/esm2_t6_8M_UR50D", "a.fasta", "out.h5"]),
    ],
)
def test_a_missing_extra_is_named_with_its_command(monkeypatch, capsys, missing, arguments):
    monkeypatch.setitem(sys.modules, missing, None)
    for name in [name for name in sys.modules if name.startswith("protein_performer.hf")]:
        monkeypatch.delitem(sys.modules, name)
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert 'pip install "protein-performer[hf]"' in error
