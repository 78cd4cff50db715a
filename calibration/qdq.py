"""INT8 as explicit Q/DQ, in the dialects of ONNX Runtime and of TensorRT.

Affine quantisation after Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only
inference", CVPR 2018, section 2; weights are symmetric int8 per output channel in both.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgeleather.arrays import AnyArray, Float32Array
from edgeleather.bundle.manifest import INT8_7BIT_GRAPH, INT8_GRAPH, INT8_TENSORRT_GRAPH
from edgeleather.calibration.quantised_layers import ACTIVATIONS, quantised_layers
from edgeleather.calibration.ranges import TensorRange

_UINT8_STEPS, _INT8_MAX, _INT32_ROOM = 255, 127, 2**30
_SMALLEST_SCALE = np.float32(2.0**-20)  # that FP16 still tells from its neighbours


@dataclass(frozen=True)
class Dialect:
    """How a backend wants its integers.

    `symmetric` activations are int8 around zero, others uint8 with a zero point. A `quantised_bias` is int32 at scale input x
    weight, else it stays float. Weights reach from -`weight_max` to `weight_max`. With `in_half` everything around the INT8
    layers is FP16, and the layers that read pixels stay out of INT8. `meant_for` says where a second graph is needed.
    """

    symmetric: bool
    quantised_bias: bool
    weight_max: int = _INT8_MAX
    in_half: bool = False
    meant_for: str = ""


# Only so does ONNX Runtime fuse each convolution, with its bias and ReLU, into one integer kernel.
ONNXRUNTIME = Dialect(symmetric=False, quantised_bias=True)
# The same for processors without integer dot products: there the sum of two products of uint8 and int8 must fit 16 bits.
ONNXRUNTIME_7BIT = Dialect(
    symmetric=False, quantised_bias=True, weight_max=63, meant_for="processors without integer dot products"
)
TENSORRT = Dialect(symmetric=True, quantised_bias=False, in_half=True)
# The dialect of each INT8 graph that a bundle may hold; which of them a backend takes stands in the table of backends.
DIALECTS = {INT8_GRAPH: ONNXRUNTIME, INT8_7BIT_GRAPH: ONNXRUNTIME_7BIT, INT8_TENSORRT_GRAPH: TENSORRT}


def to_int8(
    model: ModelProto, ranges: Mapping[str, TensorRange], dialect: Dialect, float_layers: Collection[str] = ()
) -> ModelProto:
    """The fp32 model with Q/DQ pairs around its networks' layers, but for `float_layers`, which stay as they are.

    `ranges` has one for each of `quantised_layers(model).tensors`.
    """
    chosen = quantised_layers(model, float_layers)
    writer = _Writer(model, set(chosen.layers), dialect)
    for name in chosen.tensors:
        writer.add_activation(name, ranges[chosen.same_range.get(name, name)])
    return writer.write()


def quantised_convolution(channels: int, side: int) -> ModelProto:
    """One 3 x 3 convolution of uint8 features [1, channels, side, side] in this dialect: what integer kernels do best."""
    weight = np.random.default_rng(0).integers(-127, 128, (channels, channels, 3, 3)).astype(np.int8)
    constants = {
        "scale": np.float32(0.1),
        "zero_point": np.uint8(0),
        "weight": weight,
        "weight_scale": np.full(channels, 1e-3, np.float32),
        "weight_zero_point": np.zeros(channels, np.int8),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["features", "scale", "zero_point"], ["x"]),
        helper.make_node("DequantizeLinear", ["weight", "weight_scale", "weight_zero_point"], ["w"], axis=0),
        helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("QuantizeLinear", ["y", "scale", "zero_point"], ["out"]),
    ]
    shape = [1, channels, side, side]
    values = [helper.make_tensor_value_info(name, TensorProto.UINT8, shape) for name in ("features", "out")]
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "convolution", values[:1], values[1:], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


class _Writer:
    def __init__(self, model: ModelProto, layers: set[str], dialect: Dialect) -> None:
        self._model = model
        self._dialect = dialect
        self._layers = layers
        self._made_by_a_layer = set(layers)
        for node in model.graph.node:
            if node.op_type in ACTIVATIONS and node.input[0] in layers:
                self._made_by_a_layer.add(node.output[0])
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._scales: dict[str, np.float32] = {}
        self._constants: dict[str, TensorProto] = {}

    def add_activation(self, name: str, found: TensorRange) -> None:
        """Scale and zero point of an activation; its range is widened to hold 0, which padding needs exactly."""
        low, high = min(found.minimum, 0.0), max(found.maximum, 0.0)
        if self._dialect.symmetric:
            scale = _half_above(np.float32(max(-low, high) / _INT8_MAX or 1.0))
            zero_point: np.generic = np.int8(0)
        else:
            scale = np.float32((high - low) / _UINT8_STEPS or 1.0)
            zero_point = np.uint8(np.clip(np.rint(-low / scale), 0, _UINT8_STEPS))
        self._scales[name] = scale
        self._constant(f"{name}_scale", scale)
        self._constant(f"{name}_zero_point", zero_point)

    def write(self) -> ModelProto:
        nodes: list[NodeProto] = []
        for value in self._model.graph.input:
            nodes += self._pair(value.name)
        for node in self._model.graph.node:
            copy = NodeProto()
            copy.CopyFrom(node)
            if node.output[0] not in self._layers:
                copy.input[:] = [self._read_by_the_map(name) for name in node.input]
            elif node.op_type == "Conv":
                nodes += self._weighted(copy)
            else:
                copy.input[:] = [self._read_as(name) for name in node.input]
            nodes.append(copy)
            nodes += [pair for name in node.output for pair in self._pair(name)]
        quantised = ModelProto()
        quantised.CopyFrom(self._model)
        del quantised.graph.node[:], quantised.graph.initializer[:], quantised.graph.value_info[:]
        quantised.graph.node.extend(nodes)
        used = {name for node in nodes for name in node.input}
        quantised.graph.initializer.extend(
            tensor for name, tensor in (self._weights | self._constants).items() if name in used
        )
        return quantised

    def _pair(self, name: str) -> list[NodeProto]:
        """Q and DQ behind a quantised activation."""
        if name not in self._scales:
            return []
        parameters = [f"{name}_scale", f"{name}_zero_point"]
        return [
            helper.make_node("QuantizeLinear", [name, *parameters], [f"{name}_quantized"], f"{name}_Q"),
            helper.make_node(
                "DequantizeLinear", [f"{name}_quantized", *parameters], [self._read_as(name)], f"{name}_DQ"
            ),
        ]

    def _read_by_the_map(self, name: str) -> str:
        """What a layer made comes out of it in 8 bits: that is the price of the integer kernel. All else the map reads whole."""
        return self._read_as(name) if name in self._made_by_a_layer else name

    def _read_as(self, name: str) -> str:
        return f"{name}_dequantized" if name in self._scales else name

    def _weighted(self, node: NodeProto) -> list[NodeProto]:
        """DQ nodes of a convolution's weight and bias; the node is changed to read them."""
        source, weight, *bias = node.input
        values = self._array(weight)
        offsets = self._array(bias[0]) if bias else np.zeros(len(values), np.float32)
        largest = np.abs(values).reshape(len(values), -1).max(1)
        scale = np.where(largest > 0, largest / self._dialect.weight_max, 1.0).astype(np.float32)
        if self._dialect.quantised_bias:
            # The bias counts in steps of input scale x weight scale. A channel whose weights are next to nothing would need
            # more steps than an int32 holds: its weights, which do not matter, get a coarser scale.
            smallest = np.abs(offsets) / (self._scales[source] * _INT32_ROOM)
            scale = np.maximum(scale, smallest).astype(np.float32)
        else:
            scale = _half_above(scale)
        by_channel = scale.reshape(-1, *[1] * (values.ndim - 1))
        layer = node.output[0]  # names by layer: two layers may share a weight or a bias
        self._constant(f"{layer}_weight_quantized", np.rint(values / by_channel).astype(np.int8))
        nodes = [self._dequantise(f"{layer}_weight", scale, np.zeros(len(scale), np.int8))]
        node.input[0], node.input[1] = self._read_as(source), f"{layer}_weight_dequantized"
        if bias and self._dialect.quantised_bias:
            step = self._scales[source] * scale
            self._constant(f"{layer}_bias_quantized", np.rint(offsets.astype(np.float64) / step).astype(np.int32))
            nodes.append(self._dequantise(f"{layer}_bias", step, np.zeros(len(step), np.int32)))
            node.input[2] = f"{layer}_bias_dequantized"
        return nodes

    def _dequantise(self, name: str, scale: Float32Array, zero_point: AnyArray) -> NodeProto:
        self._constant(f"{name}_scale", scale.astype(np.float32))
        self._constant(f"{name}_zero_point", zero_point)
        inputs = [f"{name}_quantized", f"{name}_scale", f"{name}_zero_point"]
        return helper.make_node("DequantizeLinear", inputs, [f"{name}_dequantized"], f"{name}_DQ", axis=0)

    def _array(self, name: str) -> AnyArray:
        return np.asarray(numpy_helper.to_array(self._weights[name]))

    def _constant(self, name: str, value: AnyArray | np.generic) -> None:
        self._constants[name] = numpy_helper.from_array(np.asarray(value), name)


def _half_above(scale: Any) -> Any:
    """Scales as the next larger values that FP16 has too: TensorRT's graph keeps its scales in it."""
    scale = np.maximum(scale, _SMALLEST_SCALE)
    half = np.float16(scale)
    return np.where(half < scale, np.nextafter(half, np.float16(np.inf)), half).astype(np.float32)
