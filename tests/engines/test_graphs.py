from __future__ import annotations

from dataclasses import replace

import pytest

from edgeleather.bundle.manifest import FP32_GRAPH, INT8_7BIT_GRAPH, INT8_GRAPH
from edgeleather.engines.built import wanted_engine
from edgeleather.engines.graphs import graph_files, graphs_of
from edgeleather.errors import EdgeLeatherError


def test_a_graph_that_is_not_there_is_named(bundle):
    with pytest.raises(EdgeLeatherError, match=r"expected a graph fp16\.onnx, this bundle has fp32\.onnx, int8"):
        graphs_of(bundle, "fp16")


def test_a_dialect_that_is_not_there_names_the_command_that_makes_it(bundle):
    with pytest.raises(EdgeLeatherError, match=r"int8-tensorrt\.onnx.* --precision int8 --backend tensorrt-rtx"):
        graphs_of(bundle, "int8", "tensorrt-rtx")


def test_an_unknown_backend_or_precision_is_refused():
    with pytest.raises(EdgeLeatherError, match="expected a backend of onnxruntime"):
        graph_files("abacus", "fp32")
    with pytest.raises(EdgeLeatherError, match="expected a precision of fp32, fp16, int8 for tensorrt, got 'int4'"):
        graph_files("tensorrt", "int4")


@pytest.mark.parametrize(("saturates", "first"), [(False, INT8_GRAPH), (True, INT8_7BIT_GRAPH)])
def test_a_processor_that_saturates_tries_the_7_bit_graph_first(bundle, monkeypatch, saturates, first):
    monkeypatch.setattr("edgeleather.engines.graphs.saturates_integer_products", lambda: saturates)
    assert graphs_of(bundle, "int8")[0] == first and len(graphs_of(bundle, "int8")) == 2
    assert graphs_of(bundle, "fp32") == (FP32_GRAPH,)


@pytest.mark.parametrize(("saturates", "taken"), [(False, "int8"), (True, "fp32")])
def test_without_a_7_bit_graph_a_processor_that_saturates_takes_fp32_unless_told(bundle, monkeypatch, saturates, taken):
    """`teach` leaves such a bundle where that graph breaks the budget: it is of use on the machine that made it."""
    monkeypatch.setattr("edgeleather.engines.graphs.saturates_integer_products", lambda: saturates)
    files = {name: record for name, record in bundle.manifest.files.items() if name != INT8_7BIT_GRAPH}
    lacking = replace(bundle, manifest=replace(bundle.manifest, files=files))
    assert wanted_engine(bundle) == ("onnxruntime", "int8") and wanted_engine(lacking) == ("onnxruntime", taken)
    assert wanted_engine(lacking, precision="int8") == ("onnxruntime", "int8")
    assert wanted_engine(lacking, backend="tensorrt") == ("tensorrt", "int8")
