from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from edgeleather.bundle.manifest import GRAPH_FILES
from edgeleather.engines.engine import PRECISIONS, BuildSettings, check_settings, load_engine
from edgeleather.engines.table import BACKENDS, REFERENCE_BACKEND, capabilities
from edgeleather.errors import EdgeLeatherError


def test_the_table_is_read_without_any_backends_library():
    code = (
        "import sys, edgeleather.engines.table; print(sorted(m for m in sys.modules if 'onnx' in m or 'tensorrt' in m))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_one_backend_is_the_reference():
    assert [name for name, can in BACKENDS.items() if can.is_reference] == [REFERENCE_BACKEND]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_record_names_a_module_that_is_there_and_graphs_of_their_precision(backend):
    can = capabilities(backend)
    assert importlib.util.find_spec(can.module) is not None
    assert set(can.graphs) <= set(PRECISIONS)
    for precision, graphs in can.graphs.items():
        assert graphs and {GRAPH_FILES[graph] for graph in graphs} == {precision}


@pytest.mark.parametrize(
    ("settings", "option"),
    [
        (BuildSettings(threads=1), "--threads"),
        (BuildSettings(batch=(1, 2, 4)), "--batch"),
        (BuildSettings(workspace_mib=64), "--workspace-mib"),
        (BuildSettings(targets=("8.6",)), "--target"),
    ],
)
def test_a_setting_is_refused_by_every_backend_that_does_not_take_it(settings, option):
    refusing = []
    for backend in BACKENDS:
        try:
            check_settings(backend, settings)
        except EdgeLeatherError as error:
            assert str(error).startswith(f"{option} is for ") and f"; {backend} does not take it" in str(error)
            refusing.append(backend)
    assert 0 < len(refusing) < len(BACKENDS)


def test_threads_are_refused_where_a_graph_is_loaded_too(tmp_path):
    with pytest.raises(EdgeLeatherError, match="--threads is for onnxruntime; tensorrt does not take it"):
        load_engine("tensorrt", tmp_path / "x.engine", "fp32", threads=2)
