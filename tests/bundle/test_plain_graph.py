from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleather.bundle.plain_graph import why_not_plain

onnx = pytest.importorskip("onnx", reason="graphs are made with onnx, which comes with the 'train' extra")
helper = onnx.helper


def model(*nodes, weights=(), **parts):
    shown = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    graph = helper.make_graph(list(nodes), "g", [shown], [shown], list(weights), **parts)
    return helper.make_model(graph)


def weight(**changes):
    tensor = helper.make_tensor("w", onnx.TensorProto.FLOAT, [1], [1.0])
    for key, value in changes.items():
        setattr(tensor, key, value)
    return tensor


def external():
    tensor = weight(data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="weights.bin")
    return tensor


def inner_graph():
    return model(helper.make_node("Identity", ["x"], ["y"])).graph


def function():
    made = model()
    made.functions.append(
        helper.make_function("d", "f", ["a"], ["b"], [helper.make_node("Identity", ["a"], ["b"])], made.opset_import)
    )
    return made


def sparse():
    made = model()
    made.graph.sparse_initializer.add()
    return made


HOSTILE = {
    "weights in another file (external data of 'w')": model(weights=[external()]),
    "the operator Loop": model(helper.make_node("Loop", ["n", "c"], ["x"], body=inner_graph())),
    "the operator If": model(
        helper.make_node("If", ["c"], ["x"], then_branch=inner_graph(), else_branch=inner_graph())
    ),
    "the operator Scan": model(helper.make_node("Scan", ["x"], ["x"])),
    "a graph inside an operator": model(helper.make_node("Mine", ["x"], ["x"], domain="my.own", body=inner_graph())),
    "sparse weights": sparse(),
    "functions of its own": function(),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_no_graph_of_ours_has_is_named(what):
    assert why_not_plain(HOSTILE[what].SerializeToString()).startswith(what)


def test_external_data_in_a_constant_is_found_too():
    node = helper.make_node("Constant", [], ["x"], value=external())
    assert "external data" in why_not_plain(model(node).SerializeToString())


def test_a_second_half_of_the_graph_is_walked_too():
    """Protobuf joins a message that stands in a file twice."""
    hidden = model(helper.make_node("Loop", ["n", "c"], ["x"], body=inner_graph()))
    assert why_not_plain(model().SerializeToString() + hidden.SerializeToString())


def test_the_graphs_of_a_bundle_are_plain(bundle):
    graphs = sorted(bundle.folder.glob("*.onnx"))
    assert len(graphs) >= 2
    assert [why_not_plain(graph.read_bytes()) for graph in graphs] == [""] * len(graphs)


@pytest.mark.parametrize("content", [b"no graph", b"\xff" * 100, b"\x3a\xff\xff\xff\xff\x7f", b"\x3a\x80", b"\x3b\x3c"])
def test_what_is_no_protobuf_is_named(content):
    assert why_not_plain(content) == "something that is no ONNX graph"


def test_a_file_of_nothing_but_fields_is_refused_before_its_end():
    few, many = b"\x10\x01" * 499_000, b"\x10\x01" * 501_000
    assert why_not_plain(b"\x3a" + len_of(few) + few) == ""
    assert why_not_plain(b"\x3a" + len_of(many) + many) == "something that is no ONNX graph"


def len_of(content):
    size, encoded = len(content), b""
    while size >= 0x80:
        encoded += bytes([size & 0x7F | 0x80])
        size >>= 7
    return encoded + bytes([size])


@given(st.binary(max_size=200), st.integers(0, 400), st.sampled_from(sorted(HOSTILE)))
def test_any_bytes_are_judged(noise, at, what):
    content = bytearray(HOSTILE[what].SerializeToString())
    content[at : at + len(noise)] = noise
    assert isinstance(why_not_plain(bytes(content)), str)
