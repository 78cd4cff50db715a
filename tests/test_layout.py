"""The house: packages and links, who may import whom, and how large a function and a module may be."""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from functools import cache

import pytest

from tests.conftest import REPOSITORY

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]
LINKED = ("export", "calibration", "benchmarks", "cli")
# What each top-level folder must not import of the others.
FORBIDDEN = {
    "edgeleather": ("edgeleather.export", "edgeleather.calibration", "edgeleather.benchmarks", "edgeleather.cli"),
    "calibration": ("edgeleather.export", "edgeleather.benchmarks", "edgeleather.cli"),
    "export": ("edgeleather.benchmarks", "edgeleather.cli"),
    "benchmarks": ("edgeleather.cli",),
}
GROUND = "ground"  # the modules that lie in edgeleather/ itself
# What each folder inside edgeleather/ may import beside the ground; the arrows point down.
ARROWS = {
    "imaging": set(),
    "metrics": set(),
    "backbones": set(),
    "bundle": {"imaging"},
    "dataset": {"imaging"},
    "sources": {"imaging"},
    "methods": {"backbones", "dataset", "imaging"},
    "engines": {"bundle", "imaging"},
    "training": {"methods", "backbones", "dataset", "imaging"},
    "inspection": {"engines", "bundle", "sources", "dataset", "metrics", "imaging"},
    "events": {"inspection", "sources", "bundle", "imaging"},
    "station": {"events", "inspection", "sources", "engines", "bundle", "imaging"},
}
WITHOUT_TORCH = sorted({*ARROWS, GROUND, "cli", "benchmarks"} - {"methods", "backbones", "training"})
# The modules of those that do import one of the train extra, each with a reason.
OF_TRAINING = ("torch", "onnx", "safetensors")
MAY_IMPORT = {
    "benchmarks/torch_engine.py": {"torch"},  # the original, which the engines are compared with
    "benchmarks/experiment/trial.py": {"torch"},  # an experiment trains
    "benchmarks/integer_floor.py": {"onnx"},  # counts a graph's operations, and is imported where onnx is there
}
MOST_LINES_OF_A_MODULE, MOST_LINES_OF_A_FUNCTION, MOST_PARAMETERS = 400, 50, 7


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def sources_of(folder):
    return [p for p in (REPOSITORY / folder).rglob("*.py") if not any(part.is_symlink() for part in p.parents)]


SOURCES = [path for folder in ("edgeleather", *LINKED) for path in sources_of(folder)]


def folder_of(path):
    parts = path.relative_to(REPOSITORY / "edgeleather").parts
    return parts[0] if len(parts) > 1 else GROUND


@cache
def arrows():
    """Every import between two folders of edgeleather/, with the modules that make it."""
    found = defaultdict(set)
    for path in sources_of("edgeleather"):
        for name in imports_of(path):
            parts = name.split(".")
            if parts[0] == "edgeleather" and len(parts) > 1 and (REPOSITORY / "edgeleather" / parts[1]).is_dir():
                found[folder_of(path), parts[1]].add(f"{path.name} imports {name}")
    return found


def test_packages_names_every_folder_with_an_init():
    found = {"edgeleather"}
    for folder in ("edgeleather", *LINKED):
        for init in (REPOSITORY / folder).rglob("__init__.py"):
            relative = init.parent.relative_to(REPOSITORY).as_posix().replace("/", ".")
            found.add(relative if relative.startswith("edgeleather") else f"edgeleather.{relative}")
    assert sorted(found) == sorted(SETUPTOOLS["packages"])


@pytest.mark.parametrize("name", LINKED)
def test_each_link_resolves_to_its_mapped_folder(name):
    link = REPOSITORY / "edgeleather" / name
    assert link.is_symlink() and not link.readlink().is_absolute()
    assert link.resolve() == (REPOSITORY / SETUPTOOLS["package-dir"][f"edgeleather.{name}"]).resolve()


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_point_down_only(folder):
    front_door = REPOSITORY / "edgeleather" / "__init__.py"  # the one module that points up: it imports on use
    for path in sources_of(folder):
        for name in imports_of(path) if path != front_door else ():
            assert not name.startswith(FORBIDDEN[folder]), f"{path} imports {name}"


def test_every_folder_has_its_place_in_the_order():
    assert set(ARROWS) == {folder_of(path) for path in sources_of("edgeleather")} - {GROUND}


@pytest.mark.parametrize("folder", ARROWS)
def test_a_folder_imports_only_what_lies_below_it(folder):
    wrong = {
        other: modules
        for (importer, other), modules in arrows().items()
        if importer == folder != other and other not in ARROWS[folder]
    }
    assert not wrong, wrong


def test_no_two_folders_import_each_other():
    allowed = {(folder, other) for folder, others in ARROWS.items() for other in others}
    assert not [pair for pair in allowed if pair[::-1] in allowed]


def test_the_ground_imports_no_folder():
    wrong = {other: modules for (importer, other), modules in arrows().items() if importer == GROUND}
    assert set().union(*wrong.values()) <= {m for ms in wrong.values() for m in ms if m.startswith("__init__.py")}, (
        wrong
    )


@pytest.mark.parametrize("part", WITHOUT_TORCH)
def test_what_runs_beside_the_line_imports_no_torch(part):
    folder = {GROUND: "edgeleather"}.get(part, part if part in LINKED else f"edgeleather/{part}")
    paths = [path for path in sources_of(folder) if part != GROUND or folder_of(path) == GROUND]
    assert paths
    for path in paths:
        found = {name.split(".")[0] for name in imports_of(path)} & {*OF_TRAINING}
        assert found == MAY_IMPORT.get(path.relative_to(REPOSITORY).as_posix(), set()), path


def test_an_init_holds_a_docstring_and_names_only():
    for folder in ("edgeleather", *LINKED):
        for init in sources_of(folder):
            if init.name == "__init__.py" and init != REPOSITORY / "edgeleather" / "__init__.py":
                body = ast.parse(init.read_text()).body
                assert not [n for n in body if not isinstance(n, ast.Expr | ast.Assign | ast.ImportFrom)], init


def is_command(function):
    """Whether click decorates it: its parameters are the command's options."""
    return any(
        (isinstance(part, ast.Name) and part.id in ("click", "command", "group"))
        or (isinstance(part, ast.Attribute) and part.attr in ("command", "group"))
        for decorator in function.decorator_list
        for part in ast.walk(decorator)
    )


def functions():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not is_command(node):
                yield f"{path.relative_to(REPOSITORY)}:{node.lineno} {node.name}", node


def test_no_function_is_longer_than_fifty_lines():
    long = {name: node.end_lineno - node.lineno + 1 for name, node in functions()}
    assert not {name: lines for name, lines in long.items() if lines > MOST_LINES_OF_A_FUNCTION}


def test_no_function_has_more_than_seven_parameters():
    def count(arguments):
        names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        return len(names) - (bool(names) and names[0] in ("self", "cls"))

    many = {name: count(node.args) for name, node in functions()}
    assert not {name: number for name, number in many.items() if number > MOST_PARAMETERS}


def test_no_module_is_longer_than_four_hundred_lines():
    lines = {str(path.relative_to(REPOSITORY)): len(path.read_text().splitlines()) for path in SOURCES}
    assert not {name: count for name, count in lines.items() if count > MOST_LINES_OF_A_MODULE}


def test_no_public_function_takes_arbitrary_keywords():
    for path in SOURCES:
        body = ast.parse(path.read_text()).body
        classes = [node for node in body if isinstance(node, ast.ClassDef)]
        for node in (*body, *(member for one in classes for member in one.body)):
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                assert not node.args.kwarg, f"{path}:{node.lineno} {node.name}"
