from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs the 'train' extra (onnx)")
torch = pytest.importorskip("torch", reason="needs the 'train' extra (torch)")

from edgeleather.calibration.qdq import ONNXRUNTIME, ONNXRUNTIME_7BIT, TENSORRT, quantised_convolution, to_int8  # noqa: E402
from edgeleather.calibration.quantised_layers import NETWORKS_KEY, pixel_layers, quantised_layers  # noqa: E402
from edgeleather.calibration.ranges import RangeCollector, TensorRange  # noqa: E402
from edgeleather.engines.onnxruntime.session import open_session  # noqa: E402
from edgeleather.errors import EdgeLeatherError  # noqa: E402
from edgeleather.export.onnx_graph import to_onnx  # noqa: E402
from edgeleather.methods.method import build_method, method_class  # noqa: E402


@pytest.fixture(scope="module", params=["efficientnet-lite0", "resnet18"])
def pair(request):
    """A random STFPM as fp32 and INT8, and the images its ranges come from."""
    torch.manual_seed(0)
    method = build_method("stfpm", request.param, (64, 64))
    for module in method.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.bias, 0, 0.1)  # biases of nothing but zeros would be dropped
    model = onnx.load_from_string(to_onnx(method))
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    collector = RangeCollector(model, quantised_layers(model).tensors)
    collector.add(images)
    return model, to_int8(model, collector.ranges("normals").tensors, ONNXRUNTIME), images


@pytest.mark.slow
def test_onnxruntime_fuses_every_layer_of_the_networks_into_an_integer_kernel(pair, tmp_path):
    model, int8, _ = pair
    open_session(int8.SerializeToString(), "int8", 2, saved_as=tmp_path / "optimised.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    convolutions = [layer for layer in quantised_layers(model).layers if not layer.startswith(("add", "max_pool"))]
    # No ReLU and no float Add of the networks is left.
    assert kinds.count("QLinearConv") == sum(kind == "Conv" for kind in (n.op_type for n in model.graph.node))
    assert kinds.count("Conv") + kinds.count("FusedConv") == 0 and "Relu" not in kinds
    assert kinds.count("QLinearAdd") > 0 and len(convolutions) > 10


@pytest.mark.slow
@pytest.mark.parametrize(("name", "joined"), [("reverse-distillation", 1), ("ssim-ae", 0), ("draem", 5)])
def test_decoders_are_integer_throughout(name, joined, tmp_path):
    """Enlarging and joining between the convolutions too: no value goes back to float on the way."""
    torch.manual_seed(0)
    preset = method_class(name).presets["edge"]
    model = onnx.load_from_string(to_onnx(build_method(name, preset.backbone, (64, 64), preset.own)))
    collector = RangeCollector(model, quantised_layers(model).tensors)
    collector.add(np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8))
    int8 = to_int8(model, collector.ranges("normals").tensors, ONNXRUNTIME)
    open_session(int8.SerializeToString(), "int8", 2, saved_as=tmp_path / "optimised.onnx")
    graph = onnx.load(tmp_path / "optimised.onnx").graph
    integer = {out for node in graph.node if node.op_type in ("QLinearConv", "QuantizeLinear") for out in node.output}
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("QLinearConcat") == joined
    moved = {}
    for node in graph.node:  # what only moves values about keeps their type
        if node.op_type in ("Transpose", "Resize", "QLinearConcat", "QLinearAdd", "NhwcMaxPool"):
            moved[node.output[0]] = node
            if node.op_type != "Resize" or node.input[0] in integer:
                integer |= set(node.output) if any(name in integer for name in node.input) else set()
    nearest = [
        node
        for node in graph.node
        if node.op_type == "Resize" and any(a.name == "mode" and a.s == b"nearest" for a in node.attribute)
    ]
    assert nearest and all(node.input[0] in integer for node in nearest)


def test_the_map_stays_near_and_the_contract_the_same(pair):
    model, int8, images = pair
    onnx.checker.check_model(int8, full_check=True)
    answers = [open_session(m.SerializeToString(), "graph", 2).run(None, {"image": images}) for m in (model, int8)]
    (expected, _), (got, scores) = answers
    assert got.shape == expected.shape and got.dtype == np.float32
    assert np.abs(got - expected).mean() < 0.05 * np.ptp(expected)
    assert np.array_equal(scores, got.max((1, 2)))


def test_weights_are_int8_per_channel_bias_int32_and_activations_uint8_with_an_exact_zero(pair):
    _, int8, _ = pair
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in int8.graph.initializer}
    producers = {name: node for node in int8.graph.node for name in node.output}
    seen = 0
    for node in int8.graph.node:
        if node.op_type == "Conv" and node.input[1] in producers:
            weight = producers[node.input[1]]
            values, scale = arrays[weight.input[0]], arrays[weight.input[1]]
            assert values.dtype == np.int8 and np.abs(values.astype(int)).max() <= 127 and len(scale) == len(values)
            assert not arrays[weight.input[2]].any()
            source = producers[node.input[0]]
            assert arrays[source.input[2]].dtype == np.uint8
            for bias in (producers[name] for name in node.input[2:]):
                assert arrays[bias.input[0]].dtype == np.int32
                assert np.allclose(arrays[bias.input[1]], arrays[source.input[1]] * scale, rtol=1e-6)
                seen += 1
    assert seen > 10


def test_pixels_are_quantised_without_loss(pair):
    _, int8, _ = pair
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in int8.graph.initializer}
    first = next(node for node in int8.graph.node if node.op_type == "QuantizeLinear")
    assert arrays[first.input[1]] == 1.0 and arrays[first.input[2]] == 0


def test_a_channel_of_next_to_no_weight_keeps_its_bias():
    """Its bias would need more steps of input scale x weight scale than an int32 holds."""
    weight = np.zeros((2, 1, 1, 1), np.float32)
    weight[:, 0, 0, 0] = 1.0, 1e-9
    helper = onnx.helper
    constants = {"net.weight": weight, "net.bias": np.array([0.25, 0.5], np.float32)}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "net.weight", "net.bias"], ["y"]),
            helper.make_node("Identity", ["y"], ["out"]),
        ],
        "one",
        [helper.make_tensor_value_info("x", 1, [1, 1, 4, 4])],
        [helper.make_tensor_value_info("out", 1, [1, 2, 4, 4])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    model.metadata_props.add(key=NETWORKS_KEY, value="net")
    ranges = {"x": TensorRange(0, 1, 1, 0, (1,)), "y": TensorRange(0, 1.25, 1, 0, (1,))}
    session = open_session(to_int8(model, ranges, ONNXRUNTIME).SerializeToString(), "one", 1)
    out = session.run(None, {"x": np.full((1, 1, 4, 4), 1.0, np.float32)})[0]
    assert np.abs(out[0, :, 0, 0] - (1.25, 0.5)).max() < 0.01


@pytest.mark.slow
def test_pooling_does_not_requantise():
    torch.manual_seed(0)
    chosen = quantised_layers(onnx.load_from_string(to_onnx(build_method("stfpm", "resnet18", (64, 64)))))
    assert len(chosen.same_range) == 2


def test_a_graph_without_networks_is_refused(pair):
    model, _, _ = pair
    other = onnx.ModelProto()
    other.CopyFrom(model)
    del other.metadata_props[:]
    with pytest.raises(EdgeLeatherError, match="does not say which of its parts are networks"):
        quantised_layers(other)
    other.metadata_props.add(key=NETWORKS_KEY, value="nowhere")
    with pytest.raises(EdgeLeatherError, match="no convolution that could be quantised"):
        quantised_layers(other)


def test_the_convolution_that_measures_the_peak_is_one_integer_kernel(tmp_path):
    model = quantised_convolution(64, 16)
    session = open_session(model.SerializeToString(), "peak", 2, saved_as=tmp_path / "optimised.onnx")
    assert "QLinearConv" in [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    out = session.run(None, {"features": np.full((1, 64, 16, 16), 100, np.uint8)})[0]
    assert out.shape == (1, 64, 16, 16) and out.dtype == np.uint8


def test_the_tensorrt_dialect_is_symmetric_with_a_float_bias_and_scales_that_fp16_has(pair):
    model, _, images = pair
    collector = RangeCollector(model, quantised_layers(model).tensors)
    collector.add(images)
    pixels = pixel_layers(model)
    int8 = to_int8(model, collector.ranges("normals").tensors, TENSORRT, pixels)
    onnx.checker.check_model(int8, full_check=True)
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in int8.graph.initializer}
    producers = {name: node for node in int8.graph.node for name in node.output}
    quantised = 0
    for node in int8.graph.node:
        if node.op_type == "QuantizeLinear":
            assert arrays[node.input[2]].dtype == np.int8 and arrays[node.input[2]] == 0
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale = arrays[node.input[1]]
            assert np.array_equal(scale.astype(np.float16).astype(np.float32), scale) and (scale > 0).all()
        if node.op_type == "Conv" and node.input[1] in producers:
            quantised += 1
            assert all(name in arrays and arrays[name].dtype == np.float32 for name in node.input[2:])
    # Of the networks' convolutions those that read pixels stay float: int8 around zero has half of a pixel's levels.
    convolutions = sum(node.op_type == "Conv" for node in model.graph.node)
    assert len(pixels) == 3 and quantised == convolutions - len(pixels)


def test_the_7_bit_graph_has_weights_whose_products_fit_16_bits_in_pairs(pair):
    model, _, images = pair
    collector = RangeCollector(model, quantised_layers(model).tensors)
    collector.add(images)
    reduced = to_int8(model, collector.ranges("normals").tensors, ONNXRUNTIME_7BIT)
    weights = [onnx.numpy_helper.to_array(t) for t in reduced.graph.initializer if t.name.endswith("weight_quantized")]
    assert weights and max(np.abs(weight.astype(int)).max() for weight in weights) == 63
    assert 2 * 255 * 63 <= np.iinfo(np.int16).max < 2 * 255 * 127


def test_layers_that_are_kept_float_are_the_fp32_graphs(pair):
    model, _, images = pair
    collector = RangeCollector(model, quantised_layers(model).tensors)
    collector.add(images)
    tensors = collector.ranges("normals").tensors
    layers = quantised_layers(model).layers
    answers = [
        open_session(m.SerializeToString(), "graph", 2).run(None, {"image": images})[0]
        for m in (model, to_int8(model, tensors, ONNXRUNTIME, layers), to_int8(model, tensors, ONNXRUNTIME, layers[3:]))
    ]
    assert np.allclose(answers[0], answers[1], atol=1e-6 * np.ptp(answers[0]))
    assert 0 < np.abs(answers[2] - answers[0]).max() < 0.2 * np.ptp(answers[0])
