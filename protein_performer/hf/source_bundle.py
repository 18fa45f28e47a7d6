"""The package's own source for a folder that loads without the package.

`transformers` imports code that stands beside weights (`trust_remote_code=True`): files in one
folder that import each other relatively. They are made from the files of this package when a model
is exported: those that `modeling` imports, directly or through others, with their imports
rewritten and nothing else.
"""

import ast
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import protein_performer
from protein_performer.errors import UserError

_PACKAGE = "protein_performer"
_TOP = Path(protein_performer.__file__).parent
ROOTS = ("protein_performer.hf.configuration", "protein_performer.hf.modeling")


def bundled_sources() -> dict[str, str]:
    """The name of each file, without folders, and its text.

    Raises: UserError if two modules of the package would have one name.
    """
    found: dict[str, str] = {}
    ahead = list(ROOTS)
    while ahead:
        module = ahead.pop()
        if module in found:
            continue
        source = _path(module).read_text(encoding="utf-8")
        found[module] = _HEADER.format(module=module, version=version("protein-performer"))
        found[module] += _rewritten(source)
        ahead += [other for node in _own_imports(source) for other in _modules(node)]
    files = {f"{_flat(module)}.py": text for module, text in sorted(found.items())}
    if len(files) < len(found):
        raise UserError(f"two modules have one name: {', '.join(sorted(found))}")
    return files


_HEADER = """\
# {module} of protein-performer {version}, with relative imports.
# SPDX-License-Identifier: Apache-2.0
"""


def _path(module: str) -> Path:
    """The file of a module, or of a package's own text."""
    place = _TOP.joinpath(*module.split(".")[1:])
    file = place.with_suffix(".py")
    return file if file.is_file() else place / "__init__.py"


def _flat(module: str) -> str:
    return module.rpartition(".")[2]


def _own_imports(source: str) -> Iterator[ast.ImportFrom]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == _PACKAGE:
            yield node


def _modules(node: ast.ImportFrom) -> list[str]:
    """What an import needs: modules by their own names, or the one that the names stand in."""
    module = str(node.module)
    each = [f"{module}.{alias.name}" for alias in node.names]
    of_modules = [name for name in each if _path(name).is_file()]
    return of_modules if len(of_modules) == len(each) else [module, *of_modules]


def _rewritten(source: str) -> str:
    lines = source.splitlines()
    for node in sorted(_own_imports(source), key=lambda each: -each.lineno):
        indent = " " * node.col_offset
        new = [indent + line for line in _relative(node)]
        lines[node.lineno - 1 : node.end_lineno] = new
    return "\n".join(lines) + "\n"


def _relative(node: ast.ImportFrom) -> Iterator[str]:
    """The lines that import the same names from files beside this one."""
    names = []
    for alias in node.names:
        shown = f"{alias.name} as {alias.asname}" if alias.asname else alias.name
        module = f"{node.module}.{alias.name}"
        if _path(module).is_file():
            # The second line is for transformers, which copies what `from .NAME import` names.
            yield f"from . import {shown}"
            yield f"from .{_flat(module)} import __name__ as _{_flat(module)}_name"
        else:
            names.append(shown)
    if names:
        yield f"from .{_flat(str(node.module))} import {', '.join(names)}"
