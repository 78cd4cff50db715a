from __future__ import annotations

import json

from edgeleather.bundle.manifest import INT8_GRAPH
from edgeleather.engines.checkup import check_up
from edgeleather.export.building import build
from edgeleather.machine import saturates_integer_products
from tests.tiny import spoil_answers


def test_a_machine_without_a_bundle():
    found = check_up()
    assert found.bundle is None and found.machine.usable_cores >= 1
    assert {backend.backend for backend in found.backends} == {"onnxruntime", "tensorrt", "tensorrt-rtx"}
    assert list(json.loads(json.dumps(found.as_json()))) == ["machine", "parts", "backends"]


def test_one_graph_of_each_precision_has_to_answer_as_recorded(bundle_copy):
    build(bundle_copy, precision="fp32")
    whole = check_up(bundle_copy).bundle
    assert whole.passed and [graph.replay.passed for graph in whole.graphs if graph.graph != INT8_GRAPH] == [True, True]
    assert whole.graphs[1].replay.passed or saturates_integer_products()
    assert [(engine.engine, engine.passed) for engine in whole.engines] == [("onnxruntime fp32", True)]
    spoil_answers(bundle_copy, INT8_GRAPH)
    one_left = check_up(bundle_copy, threads=1).bundle
    assert one_left.passed and [graph.replay.passed for graph in one_left.graphs] == [True, False, True]
    spoil_answers(bundle_copy, "fp32.onnx")
    spoiled = check_up(bundle_copy).bundle
    assert not spoiled.passed and spoiled.engines[0].passed is False
