"""The commands of README.md and docs/ are taken as they stand, quotes and brackets included."""

import argparse
import importlib
import re
import shlex

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from runs import ROOT

import train  # noqa: F401  (registers the resolver that the trainer's config uses)
from protein_performer.commands import verbs

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = "\n".join(page.read_text() for page in PAGES)
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = [block for kind, block in FENCED.findall(TEXT) if kind in ("", "sh", "bash")]
INLINE = [code.replace("\n", " ") for code in re.findall("`([^`]+)`", FENCED.sub("", TEXT))]
LINES = [line for block in BLOCKS for line in block.replace("\\\n", " ").splitlines()]
OURS = re.compile(
    r"\S*(python|torchrun|srun) .*train\.py |protein-performer |python -m benchmarks\."
)
COMMANDS = [shlex.split(each, comments=True) for each in [*LINES, *INLINE] if OURS.match(each)]


def overrides_of(words):
    """What `train.py` is given; a shell's variables and elisions get a value."""
    at = next(i for i, word in enumerate(words) if word.endswith("train.py"))
    return [re.sub(r"\$\w+", "1", word) for word in words[at + 1 :] if not word.startswith("-")]


TRAINING = [words for words in COMMANDS if any(word.endswith("train.py") for word in words)]
VALUES = [code for code in INLINE if re.fullmatch(r"(\w+[./])*\w+=[^ ]+", code)]
VALUES = [code for code in VALUES if not re.match(r"[A-Z_]+=", code)]  # of the environment
VALUES.remove("hydra.launcher.NAME=VALUE")  # stands for any
DOWNLOAD = ["data=swissprot", "data.download.source=URL"]
OVERRIDES = [DOWNLOAD if value in DOWNLOAD else [value] for value in VALUES]
OVERRIDES += [overrides_of(words) for words in TRAINING]
OVERRIDES += [words[2:] for words in COMMANDS if words[:2] == ["protein-performer", "train"]]
OVERRIDES = [list(each) for each in dict.fromkeys(map(tuple, OVERRIDES))]
MODULES = [words for words in COMMANDS if words[:2] == ["python", "-m"]]
OF_BENCHMARKS = [words for words in MODULES if words[2].count(".") == 1]
OF_VERBS = [words for words in COMMANDS if words[:1] == ["protein-performer"] and len(words) > 2]
OF_VERBS = [words for words in OF_VERBS if words[1] != "train"]


def jobs(overrides):
    """The jobs of a sweep; one, of the same overrides, where nothing is swept."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    swept = [list(each.sweep_string_iterator()) for each in parsed if each.is_sweep_override()]
    plain = [each.input_line for each in parsed if not each.is_sweep_override()]
    keys = [each.get_key_element() for each in parsed if each.is_sweep_override()]
    for number in range(max(map(len, swept), default=1)):
        chosen = (values[number % len(values)] for values in swept)
        yield [*plain, *(f"{key}={value}" for key, value in zip(keys, chosen, strict=True))]


@pytest.mark.parametrize("overrides", OVERRIDES, ids=" ".join)
def test_overrides_compose(overrides):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        for job in jobs(overrides):
            cfg = compose("train", ["run_dir=here", *job], return_hydra_config=True)
            for name in ("data", "model", "trainer", "callbacks"):
                assert OmegaConf.to_container(cfg[name], resolve=True)


def test_an_address_stays_what_it_was():
    (address,) = [o for o in OVERRIDES if any("sources=[https" in each for each in o)]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("train", ["run_dir=here", *address])
    assert cfg.data.sources == ["https://SERVER/proteins.fasta.gz"]


@pytest.mark.parametrize("words", OF_VERBS, ids=" ".join)
def test_arguments_of_verbs_parse(words):
    assert words[1] in verbs()
    parser = argparse.ArgumentParser()
    command = importlib.import_module(f"protein_performer.commands.{words[1]}")
    command.add_arguments(parser)
    parser.add_argument("--json")
    assert parser.parse_args(words[2:])


@pytest.mark.parametrize("words", OF_BENCHMARKS, ids=" ".join)
def test_arguments_of_benchmarks_parse(words):
    parser = argparse.ArgumentParser()
    importlib.import_module(f"{words[2]}.__main__").add_arguments(parser)
    parser.add_argument("--json")
    assert parser.parse_args(words[3:])


@pytest.mark.parametrize("words", [words for words in MODULES if words not in OF_BENCHMARKS])
def test_parts_of_benchmarks_are_modules_without_arguments(words):
    assert importlib.import_module(words[2]).main
    assert words[3:] == []


def test_there_are_commands_to_look_at():
    assert len(TRAINING) > 20
    assert len(VALUES) > 10
    assert len(OF_VERBS) > 5
    assert {words[2] for words in OF_BENCHMARKS} == {
        f"benchmarks.{name}" for name in ("attention", "data", "generation", "inference")
    }
