"""Who may import whom: the plan of the house as a test.

A file imports files of its own layer or of a lower one. Every file of the package has a layer.
"""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "protein_performer"

LAYERS = [
    ["errors", "addresses", "alphabet", "byte_alphabet", "batch", "files"],
    [
        "attention.*",
        "data.locking",
        "data.randomness",
        "data.objectives",
        "data.splits",
        "data.reading.*",
        "data.storage.*",
        "metrics",
        "baselines",
        "model.positions",
        "model.convolution",
        "reporting.*",
    ],
    ["data.preparing.*"],
    ["data.fetching.*", "data.batches.*"],
    ["data.streaming.*"],
    ["data.*"],
    ["model.*"],
    ["inference.*"],
    ["training.*"],
    ["commands.*", "cli"],
]

ONLY_IN = {
    "hydra": {"training.sweep"},
    "pytorch_lightning": {"training", "data.datamodule"},
    "wandb": {"training.pictures"},
    "matplotlib": {"reporting.plots"},
}


def files():
    return sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def module_name(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def layer_of(name):
    for level, members in enumerate(LAYERS):
        for member in members:
            if name == member or (member.endswith(".*") and name.startswith(member[:-1])):
                return level
    raise AssertionError(f"{name} has no layer in {__file__}")


def imports(path):
    """(line, imported module) of every import in a file, those inside functions included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield node.lineno, node.module


@pytest.mark.parametrize("path", files(), ids=module_name)
def test_a_file_imports_its_own_layer_or_lower(path):
    name = module_name(path)
    for line, imported in imports(path):
        if not imported.startswith("protein_performer."):
            continue
        other = imported.removeprefix("protein_performer.")
        if (PACKAGE / other.replace(".", "/")).is_dir():
            other += ".__init__"
        assert layer_of(other) <= layer_of(name), f"{path}:{line} imports {imported}"
        apart = {name.partition(".")[0], other.partition(".")[0]}
        assert apart != {"data", "attention"}, f"{path}:{line}: data and attention stay apart"


@pytest.mark.parametrize("path", files(), ids=module_name)
def test_libraries_stay_where_they_belong(path):
    name = module_name(path)
    for line, imported in imports(path):
        library = imported.partition(".")[0]
        allowed = ONLY_IN.get(library)
        if allowed is not None:
            inside = any(name == place or name.startswith(place + ".") for place in allowed)
            assert inside, f"{path}:{line} imports {library}"
        if name.startswith("attention."):
            known = {"torch", "typing_extensions", "protein_performer"} | sys.stdlib_module_names
            assert library in known, f"{path}:{line}: attention imports torch only, not {library}"
        if name.startswith("reporting."):
            assert library != "torch", f"{path}:{line}: reporting draws arrays"


def test_the_test_sees_imports():
    assert "torch" in {imported for _, imported in imports(PACKAGE / "model" / "transformer.py")}
    assert len(files()) > 20
