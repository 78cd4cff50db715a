"""The house (DESIGN 2): packages, links, and who may import whom."""

from __future__ import annotations

import ast
import sys

import pytest

from tests.conftest import REPOSITORY

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]
LINKED = ("export", "calibration", "benchmarks", "cli")
# What each package may import of the others; inside `edgeleather` the order of DESIGN 2.
FORBIDDEN = {
    "edgeleather": ("edgeleather.export", "edgeleather.calibration", "edgeleather.benchmarks", "edgeleather.cli"),
    "calibration": ("edgeleather.export", "edgeleather.benchmarks", "edgeleather.cli"),
    "export": ("edgeleather.benchmarks", "edgeleather.cli"),
    "benchmarks": ("edgeleather.cli",),
}


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
    for path in sources_of(folder):
        for name in imports_of(path):
            assert not name.startswith(FORBIDDEN[folder]), f"{path} imports {name}"


@pytest.mark.parametrize("part", ["runtime", "engines", "metrics", "dataset"])
def test_the_runtime_imports_no_torch(part):
    for path in sources_of(f"edgeleather/{part}"):
        assert not any(name.split(".")[0] in ("torch", "onnx", "safetensors") for name in imports_of(path)), path


def test_an_init_holds_a_docstring_and_names_only():
    for folder in ("edgeleather", *LINKED):
        for init in sources_of(folder):
            if init.name == "__init__.py":
                body = ast.parse(init.read_text()).body
                assert not [n for n in body if not isinstance(n, ast.Expr | ast.Assign | ast.ImportFrom)], init
