"""The plan of the house as a test: who may import whom, and how large a file and function may be.

A room is a file or folder directly in the package. Imports inside functions count as any other.
"""

import ast
import sys
from graphlib import TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "protein_performer"
BENCHMARKS = ROOT / "benchmarks"

BASICS = [
    *("errors", "addresses", "alphabet", "byte_alphabet", "batch", "files", "metrics"),
    *("baselines", "ngram", "processor", "registry"),
]
# Each room with those that it may import; `basics` are the files of that list.
ROOMS = {
    "basics": {"basics"},
    "attention": {"basics"},
    "reporting": {"basics"},
    "data": {"basics", "reporting"},
    "model": {"basics", "attention"},
    "inference": {"basics", "attention", "data", "model"},
    "hf": {"basics", "model", "inference", "attention"},
    "training": {"basics", "reporting", "data", "model", "inference"},
    "experiments": {"basics", "reporting", "attention", "model", "inference"},
    "commands": {
        *("basics", "reporting", "data", "model", "inference", "hf", "training", "experiments"),
    },
}
ORDER = [
    *("basics", "reporting", "data", "attention", "model", "inference", "hf", "training"),
    *("experiments", "commands"),
]

# Each library with the rooms, folders or files that may import it: all of them do.
LIBRARIES = {
    "torch": {
        *("batch", "metrics", "baselines", "processor", "attention", "model", "inference"),
        *("hf.modeling", "hf.running_state", "training", "experiments.measures"),
        *("data.batches", "data.streaming", "data.datamodule"),
    },
    "numpy": {
        *("alphabet", "byte_alphabet", "batch", "ngram", "data", "inference", "reporting"),
        "training.callbacks",
    },
    "typing_extensions": {"byte_alphabet", "training"},
    "pytorch_lightning": {"training", "data.datamodule"},
    "torchmetrics": {"metrics"},
    "hydra": {"training"},
    "omegaconf": {"training"},
    "yaml": {"reporting.runs"},
    "plotly": {"reporting.charts", "reporting.page"},
    "jinja2": {"reporting.page"},
    "wandb": {"training.dashboard", "training.lightning"},
    "matplotlib": {
        "reporting.plots",
        "reporting.error_figure",
        "reporting.attention_figure",
        "experiments.approximation",
    },
    "rich": {"commands", "data.fetching", "reporting", "training.console"},
    "Bio": {"data.reading", "inference.interpretation.residue_similarity"},
    "isal": {"data.reading.compression"},
    "fsspec": {"data.reading.remote"},
    "requests": {"data.reading.http_client"},
    "urllib3": {"data.reading.http_client", "data.fetching"},
    "filelock": {
        "files",
        "inference.embedding.embed_files",
        "data.fetching.remote_folder",
    },
    "h5py": {"inference.embedding.embedding_hdf5"},
    "safetensors": {"inference.pretrained_folder", "hf"},
    "transformers": {"hf"},
    "tokenizers": {"hf.residue_tokenizer"},
    "pyarrow": {"inference.row_file"},
    "huggingface_hub": {"inference.hub"},
    "sklearn": {"inference.probing.linear_probe"},
}

LONGEST_FILE, LONGEST_FUNCTION = 300, 60  # lines


def module_name(path, top=PACKAGE):
    return ".".join(path.relative_to(top).with_suffix("").parts).removesuffix(".__init__")


FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
MODULES = {name: path for name, path in FILES.items() if name != "__init__"}
PARSED = {
    path: ast.parse(path.read_text()) for path in [*FILES.values(), *BENCHMARKS.rglob("*.py")]
}


def imports(path):
    """(line, imported module) of every import; `from package import module` gives the module."""
    for node in ast.walk(PARSED[path]):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                inside = full.removeprefix("protein_performer.") in FILES
                yield node.lineno, full if inside else node.module


def own_imports(path):
    """(line, name of a module of the package) without the package's own name."""
    for line, imported in imports(path):
        if imported.startswith("protein_performer."):
            yield line, imported.removeprefix("protein_performer.")


def room_of(name):
    if name in BASICS:
        return "basics"
    top = "commands" if name in ("cli", "__main__") else name.partition(".")[0]
    assert top in ROOMS, f"{name} has no room in {__file__}"
    return top


def is_in(name, place):
    return name == place or name.startswith(place + ".")


@pytest.mark.parametrize("name", MODULES)
def test_a_room_imports_the_rooms_below_it(name):
    room = room_of(name)
    for line, other in own_imports(MODULES[name]):
        allowed = {room, *ROOMS[room]}
        assert room_of(other) in allowed, f"{MODULES[name]}:{line}: {room} imports {other}"


def test_the_rooms_have_one_order():
    assert sorted(ORDER) == sorted(ROOMS)
    for room, others in ROOMS.items():
        assert all(ORDER.index(other) <= ORDER.index(room) for other in others)
    assert "training" not in ROOMS["inference"]
    assert ROOMS["data"].isdisjoint({"attention", "model"})


def place_of(name):
    """A folder in a room; a file directly in a room is a place of its own."""
    parts = name.split(".")
    return ".".join(parts[:2]) if len(parts) > 2 else name


def test_folders_of_a_room_do_not_import_each_other_in_circles():
    graph = {}
    for name, path in MODULES.items():
        others = {place_of(other) for _, other in own_imports(path)}
        graph.setdefault(place_of(name), set()).update(others - {place_of(name)})
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_only_favor_imports_the_schedules_of_the_cpu():
    cpu = "attention.favor.cpu"
    doors = {
        name
        for name, path in MODULES.items()
        if any(is_in(other, cpu) for _, other in own_imports(path)) and not is_in(name, cpu)
    }
    assert doors == {"attention.favor.favor"}


@pytest.mark.parametrize("name", [name for name in MODULES if is_in(name, "reporting")])
def test_reporting_needs_neither_torch_nor_a_model(name):
    """Directly or through what it imports: a page is drawn from files."""
    seen, ahead = set(), [name]
    while ahead:
        each = ahead.pop()
        seen.add(each)
        for _, imported in imports(MODULES[each]):
            assert imported.partition(".")[0] != "torch", f"{name} imports torch through {each}"
        ahead += [other for _, other in own_imports(MODULES[each]) if other not in seen]
    assert {room_of(each) for each in seen} <= {"reporting", "basics"}


@pytest.mark.parametrize("name", FILES)
def test_libraries_stay_where_they_belong(name):
    own = {"protein_performer", *sys.stdlib_module_names}
    for line, imported in imports(FILES[name]):
        library = imported.partition(".")[0]
        if library not in own:
            places = LIBRARIES.get(library, set())
            allowed = any(is_in(name, place) for place in places)
            assert allowed, f"{FILES[name]}:{line}: {library} may be imported by {places or 'none'}"


@pytest.mark.parametrize(
    ("library", "place"),
    [(library, place) for library in LIBRARIES for place in sorted(LIBRARIES[library])],
)
def test_every_allowance_is_in_use(library, place):
    users = (path for name, path in MODULES.items() if is_in(name, place))
    assert any(each.partition(".")[0] == library for path in users for _, each in imports(path))


def test_no_two_files_have_the_same_name():
    names = sorted(path.stem for path in MODULES.values() if path.stem != "__init__")
    assert not {one for one, other in pairwise(names) if one == other}


def test_no_two_test_modules_have_the_same_name():
    """Outside packages, pytest finds them by their names alone, as imports between them do."""
    paths = (ROOT / "tests").rglob("*.py")
    names = sorted(path.stem for path in paths if not (path.parent / "__init__.py").is_file())
    assert not {one for one, other in pairwise(names) if one == other}


@pytest.mark.parametrize("path", PARSED, ids=str)
def test_private_names_stay_in_their_file(path):
    for node in ast.walk(PARSED[path]):
        if isinstance(node, ast.ImportFrom):
            private = [each.name for each in node.names if each.name.startswith("_")]
            ours = node.module.partition(".")[0] in ("protein_performer", "benchmarks")
            assert not (ours and private), f"{path}:{node.lineno} imports {private}"


@pytest.mark.parametrize("path", PARSED, ids=str)
def test_files_and_functions_are_short(path):
    assert len(path.read_text().splitlines()) <= LONGEST_FILE
    for node in ast.walk(PARSED[path]):
        if isinstance(node, ast.FunctionDef):
            lines = node.end_lineno - node.lineno + 1
            assert lines <= LONGEST_FUNCTION, f"{path}:{node.lineno}: {node.name} has {lines} lines"


def test_tests_stand_in_the_same_tree():
    """A test stands in the folder of what it tests, of the package or of the benchmarks."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        folder = path.parent.relative_to(ROOT / "tests")
        assert any((top / folder).is_dir() for top in (PACKAGE, ROOT)), f"{path}: no such folder"


def test_no_test_imports_another_one():
    """What tests share is in modules without tests."""
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            of_tests = [each for each in names if each.rpartition(".")[2].startswith("test_")]
            assert not of_tests, f"{path}:{node.lineno} imports {of_tests}"


def test_the_test_sees_imports():
    assert "torch" in {imported for _, imported in imports(MODULES["model.transformer"])}
    assert "attention.protocol" in {each for _, each in own_imports(MODULES["model.transformer"])}
    assert len(MODULES) > 100
