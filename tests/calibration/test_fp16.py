from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs the 'train' extra (onnx)")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from edgeleather.calibration.fp16 import element_types, to_fp16  # noqa: E402
from edgeleather.engines.onnxruntime.session import open_session  # noqa: E402


@pytest.fixture(scope="module")
def model(bundle):
    return onnx.load(bundle.folder / "fp32.onnx")


def images(count=3):
    return np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)


def answers(model):
    return open_session(model.SerializeToString(), "graph", 2).run(None, {"image": images()})


def test_the_graph_is_half_inside_and_keeps_its_contract(model):
    half = to_fp16(model, ())
    onnx.checker.check_model(half, full_check=True)
    types = element_types(half)
    assert types["image"] == TensorProto.UINT8 and types["anomaly_map"] == types["anomaly_score"] == TensorProto.FLOAT
    convolutions = [node for node in half.graph.node if node.op_type == "Conv"]
    assert convolutions and all(types[node.output[0]] == TensorProto.FLOAT16 for node in convolutions)
    assert len(half.SerializeToString()) < 0.6 * len(model.SerializeToString())
    (expected, _), (got, scores) = answers(model), answers(half)
    assert got.dtype == np.float32 and np.abs(got - expected).max() < 0.01 * np.ptp(expected)
    assert np.array_equal(scores, got.max((1, 2)))


def test_nodes_that_are_kept_stay_float32(model):
    kept = [node.output[0] for node in model.graph.node]
    same = to_fp16(model, kept)
    assert TensorProto.FLOAT16 not in element_types(same).values()
    assert all(np.array_equal(a, b) for a, b in zip(answers(model), answers(same), strict=True))
    blur = [node.output[0] for node in model.graph.node if node.op_type == "Conv"][-1]
    mixed = to_fp16(model, [blur])
    assert element_types(mixed)[blur] == TensorProto.FLOAT
    onnx.checker.check_model(mixed, full_check=True)


def test_a_resizes_scales_stay_float32():
    """No built-in method's graph has a Resize; one that somebody adds may."""
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 1, k, k]) for n, k in (("x", 4), ("y", 8))]
    nodes = [
        helper.make_node("Resize", ["x", "", "scales"], ["big"], mode="linear"),
        helper.make_node("Relu", ["big"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [scales])
    half = to_fp16(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), ())
    types = element_types(half)
    (resize,) = (node for node in half.graph.node if node.op_type == "Resize")
    assert types[resize.input[2]] == TensorProto.FLOAT and types[resize.input[0]] == TensorProto.FLOAT16
    out = open_session(half.SerializeToString(), "g", 1).run(None, {"x": np.ones((1, 1, 4, 4), np.float32)})[0]
    assert np.array_equal(out, np.ones((1, 1, 8, 8)))


def test_constants_beyond_fp16_are_cut_to_its_largest_number():
    constant = numpy_helper.from_array(np.array([1e6, 1.0], np.float32), "c")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Mul", ["x", "c"], ["y"])], "g", values[:1], values[1:], [constant])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    out = open_session(to_fp16(model, ()).SerializeToString(), "g", 1).run(None, {"x": np.float32([0.5, 2.0])})[0]
    assert out.dtype == np.float32 and np.array_equal(out, [32752.0, 2.0])
