"""A backend is one file and one line of the table: nothing outside `engines/` knows a backend by its name."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeleather.benchmarks.rounds import ORIGINAL
from edgeleather.engines.graphs import graphs_of
from edgeleather.engines.table import BACKENDS
from edgeleather.machine import saturates_integer_products
from tests.conftest import REPOSITORY

TOY_FILE = Path(__file__).with_name("toy_backend.py")
TOY_LINE = '    "toy": Capabilities("edgeleather.engines.toy", _INTEGER_KERNELS, "cpu", takes_threads=True),\n'
MAIN = "import edgeleather, sys; print(edgeleather.__file__, file=sys.stderr)\nfrom edgeleather.cli.main import main; main()"
NAMES = {*BACKENDS, ORIGINAL}
FOLDERS = ("edgeleather", "export", "calibration", "benchmarks", "cli")


@pytest.fixture(scope="module")
def with_toy(tmp_path_factory):
    """A copy of the package with the toy's file and its line in the table, and no other edit."""
    root = tmp_path_factory.mktemp("toy")
    shutil.copytree(REPOSITORY / "edgeleather", root / "edgeleather", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(TOY_FILE, root / "edgeleather" / "engines" / "toy.py")
    table = root / "edgeleather" / "engines" / "table.py"
    before, end, after = table.read_text().partition("}\nREFERENCE_BACKEND")
    assert end
    table.write_text(before + TOY_LINE + end + after)
    return root


@pytest.fixture(scope="module")
def toy_bundle(bundle, tmp_path_factory):
    """A copy of the tiny bundle, in which the toy's engines are built one test after another."""
    return shutil.copytree(bundle.folder, tmp_path_factory.mktemp("toy-bundle") / "bundle")


@pytest.fixture(scope="module")
def toy_engine(with_toy, toy_bundle):
    """What `build` says of the toy's INT8 engine."""
    return run(with_toy, "build", toy_bundle, "--backend", "toy", "--precision", "int8", "--threads", 1)


def run(root, *arguments):
    """What a command of the copied package says as JSON."""
    command = [sys.executable, "-c", MAIN, *map(str, arguments), "--json"]
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=root)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(str(root / "edgeleather"))
    return json.loads(done.stdout)


def test_a_toy_backend_builds_an_engine(toy_engine, bundle):
    signature = toy_engine["signature"]["signature"]
    # The 7-bit graph may be taken only where the processor saturates.
    taken = graphs_of(bundle, "int8")[: 2 if saturates_integer_products() else 1]
    assert (signature["backend"], signature["precision"]) == ("toy", "int8")
    assert signature["graph_sha256"] in [bundle.manifest.files[name].sha256 for name in taken]
    assert toy_engine["replay"]["passed"] and toy_engine["median_ms"] > 0 and len(toy_engine["start_ms"]) == 1
    assert Path(toy_engine["engine"]).read_bytes().startswith(b"toy engine of graph ")


def test_inspect_takes_the_toy_where_it_is_named_or_was_found_fastest(with_toy, toy_bundle, toy_engine, hole_picture):
    inspect = ("inspect", toy_bundle, "--source", hole_picture)
    named = run(with_toy, *inspect, "--backend", "toy", "--precision", "int8")
    assert (named["backend"], named["precision"], named["inferred"], named["defects"]) == ("toy", "int8", 1, 1)
    times = run(with_toy, "build", toy_bundle, "--backend", "toy", "--precision", "auto")["median_ms_by_precision"]
    assert set(times) == {"fp32", "int8"}
    free = run(with_toy, *inspect)
    assert (free["backend"], free["precision"]) == ("toy", min(times, key=times.get))


def test_doctor_names_the_toy_and_replays_its_engine(with_toy, toy_bundle, toy_engine):
    report = run(with_toy, "doctor", toy_bundle)
    assert {"backend": "toy", "version": "0.1", "cannot_run": None} in report["backends"]
    engines = {engine["engine"]: engine["passed"] for engine in report["bundle"]["engines"]}
    assert engines["toy int8"] is True


@pytest.mark.slow
@pytest.mark.train
def test_benchmark_has_a_row_for_each_of_the_toys_graphs(with_toy, bundle, dataset_folder, tmp_path):
    options = ("--data", dataset_folder, "--out", tmp_path / "report", "--rounds", 1, "--repeats", 2)
    rows = run(with_toy, "benchmark", bundle.folder, *options)["rows"]
    scores = {(row["backend"], row["precision"]): row["image_auroc"] for row in rows}
    assert scores.keys() >= {("toy", "fp32"), ("toy", "int8"), ("onnxruntime", "int8"), (ORIGINAL, "fp32")}
    assert scores["toy", "int8"] == scores["onnxruntime", "int8"]
    (toy,) = (row for row in rows if (row["backend"], row["precision"]) == ("toy", "fp32"))
    assert toy["times_torch"] > 0 and toy["flips"] == 0


def branches_on_a_name(tree):
    """The lines where something is compared with a backend's name, chosen by it, looked up by it, or called with it."""
    for node in ast.walk(tree):
        is_branch = any(_names_one(chosen) for chosen in _chosen_by(node)) or _compares_a_backend(node)
        if is_branch or any(map(_is_backend, _arguments_of(node))):
            yield getattr(node, "lineno", 0)


def _chosen_by(node):
    """The expressions that decide which way a node goes."""
    if isinstance(node, ast.Compare):
        return [node.left, *node.comparators]
    if isinstance(node, ast.match_case):
        return [pattern.value for pattern in ast.walk(node.pattern) if isinstance(pattern, ast.MatchValue)]
    if isinstance(node, ast.Dict):
        return [key for key in node.keys if key is not None]
    if isinstance(node, ast.Subscript):
        return [node.slice]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.args if node.func.attr in ("get", "startswith", "endswith", "pop") else []
    return []


def _names_one(node):
    """Whether an expression is a backend's name, or a tuple, list or set that holds one."""
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return any(map(_names_one, node.elts))
    return isinstance(node, ast.Constant) and node.value in NAMES


def _arguments_of(node):
    """What a function is called with."""
    return [*node.args, *(keyword.value for keyword in node.keywords)] if isinstance(node, ast.Call) else []


def _is_backend(node):
    """Whether an expression is the name of a backend of the table; `torch` is a package's name, too, so it may be passed."""
    return isinstance(node, ast.Constant) and node.value in BACKENDS


def _compares_a_backend(node):
    """Whether something called `backend` is compared with anything but None, or looked for anywhere but in the table.

    OpenCV has backends of its own for films and cameras, which its constants name.
    """
    sides = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
    if not any(_is_called(side, "backend") for side in sides):
        return False
    others = [side for side in sides if not _is_called(side, "backend")]
    return not all(
        (isinstance(side, ast.Constant) and side.value is None)
        or _is_called(side, "BACKENDS")
        or (isinstance(side, ast.Attribute) and _is_called(side.value, "cv2"))
        for side in others
    )


def _is_called(node, name):
    called = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None
    return called == name


def test_nothing_outside_engines_branches_on_a_backends_name():
    found = []
    for folder in FOLDERS:
        for path in (REPOSITORY / folder).rglob("*.py"):
            linked = any(part.is_symlink() for part in path.parents)
            if not linked and (REPOSITORY / "edgeleather" / "engines") not in path.parents:
                lines = branches_on_a_name(ast.parse(path.read_text()))
                found += [f"{path.relative_to(REPOSITORY)}:{line}" for line in lines]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        'backend == "onnxruntime"',
        '"tensorrt" != name',
        'name in ("tensorrt", "tensorrt-rtx")',
        'x = "tensorrt" if backend == "tensorrt-rtx" else backend',
        'match name:\n    case "torch":\n        pass',
        '{("onnxruntime", "int8"): 1}',
        'rows.get(("onnxruntime", "int8"))',
        'table["tensorrt"]',
        'name.startswith("tensorrt")',
        "self.backend == DEFAULT",
        "one.backend in GPUS",
        "one.backend == other.backend == CPU",
        'load_engine("onnxruntime", file)',
        'build(folder, backend="tensorrt")',
    ],
)
def test_the_check_finds_each_kind_of_branch(code):
    assert list(branches_on_a_name(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "backend is None",
        "self.backend not in BACKENDS",
        "address.backend == cv2.CAP_FFMPEG",
        'is_installed("torch")',
        "load_engine(REFERENCE_BACKEND, file)",
    ],
)
def test_the_check_lets_the_table_and_plain_arguments_pass(code):
    assert not list(branches_on_a_name(ast.parse(code)))
