"""Which layers of an fp32 graph become INT8, and which tensors between them are quantised for that."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from onnx import ModelProto, NodeProto

from edgeleather.errors import EdgeLeatherError

NETWORKS_KEY = "edgeleather.networks"  # in the model's metadata: prefixes of the networks' parameter names
_WEIGHTED = ("Conv",)
ACTIVATIONS = ("Relu", "Clip")
_WHITE_PLANE = (
    "white_kernel"  # adds the plane that takes the mean off, and nothing else (`Backbone.fold_normalisation`)
)


@dataclass(frozen=True)
class QuantisedLayers:
    """The layers to quantise, by the name of their output, and the activation tensors that need a calibration range.

    `same_range` maps a tensor to the one whose range it takes over: pooling must not requantise.
    """

    layers: tuple[str, ...]
    tensors: tuple[str, ...]
    same_range: dict[str, str]


def quantised_layers(model: ModelProto, float_layers: Collection[str] = ()) -> QuantisedLayers:
    """Choose the convolutions of the method's networks and what lies between them: ReLU, sums, pooling, joining, enlarging.

    Everything else, above all distances and the map's own arithmetic, stays float, and so do `float_layers`.

    Raises:
        EdgeLeatherError: the graph does not say what its networks are, or they hold no convolution.
    """
    graph = _Graph(model)
    from_image = {value.name for value in model.graph.input}
    layers: dict[str, tuple[str, ...]] = {}  # what each layer reads and gives that has to be quantised for it
    tensors: dict[str, None] = {}
    same_range: dict[str, str] = {}
    for node in model.graph.node:
        if not from_image.intersection(node.input):
            continue  # a constant, which engines compute once
        from_image |= set(node.output)
        if graph.has_weights(node):
            tensors[node.input[0]] = None
        elif not graph.lies_between_layers(node, tensors):
            continue
        elif _repeats_values(node):
            same_range[node.output[0]] = same_range.get(node.input[0], node.input[0])
        end = graph.end_of(node)
        tensors[end] = None
        layers[node.output[0]] = (*(name for name in node.input if name in tensors), end)
    if not layers:
        raise EdgeLeatherError("this graph has no convolution that could be quantised.")
    outputs = {value.name for value in model.graph.output}
    kept = tuple(layer for layer in layers if layer not in float_layers)
    needed = {name for layer in kept for name in layers[layer]} - outputs
    return QuantisedLayers(kept, tuple(name for name in tensors if name in needed), same_range)


def layer_names(model: ModelProto) -> dict[str, str]:
    """What to call each node's output: a convolution by its weight's name in the method, others by operator and output."""
    return {
        node.output[0]: node.input[1].removesuffix(".weight")
        if node.op_type == "Conv"
        else f"{node.op_type} {node.output[0]}"
        for node in model.graph.node
    }


def pixel_layers(model: ModelProto) -> tuple[str, ...]:
    """The convolutions that read pixels: int8 around zero has only half of the levels that pixels have."""
    pixels = pixel_tensors(model)
    return tuple(node.output[0] for node in model.graph.node if node.op_type == "Conv" and node.input[0] in pixels)


def pixel_tensors(model: ModelProto) -> frozenset[str]:
    """The image and what is made of it pixel by pixel, before the first convolution that makes features."""
    pixels = {value.name for value in model.graph.input}
    prefixes = networks(model)
    for node in model.graph.node:
        weight = node.input[1] if node.op_type == "Conv" else ""
        makes_features = weight.startswith(prefixes) and not weight.endswith(_WHITE_PLANE)
        if pixels.intersection(node.input) and not makes_features and node.op_type != "Concat":
            pixels |= set(node.output)
    return frozenset(pixels)


class _Graph:
    """Who reads what, and which initializers are the networks' weights."""

    def __init__(self, model: ModelProto) -> None:
        prefixes = networks(model)
        self._weights = {tensor.name for tensor in model.graph.initializer if tensor.name.startswith(prefixes)}
        self._outputs = {value.name for value in model.graph.output}
        self._readers: dict[str, list[NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def has_weights(self, node: NodeProto) -> bool:
        """Whether a node is a convolution of a network."""
        return node.op_type in _WEIGHTED and node.input[1] in self._weights

    def lies_between_layers(self, node: NodeProto, tensors: Collection[str]) -> bool:
        """Whether a node sums, joins, pools or repeats what is quantised, and not as a part of the map's arithmetic."""
        if node.op_type == "Add":
            return all(name in tensors for name in node.input)
        if node.op_type == "Concat":
            return all(name in tensors for name in node.input) and self._feeds_a_layer(node)
        return _repeats_values(node) and node.input[0] in tensors and self._feeds_a_layer(node)

    def end_of(self, node: NodeProto) -> str:
        """The tensor to quantise behind a layer: its activation's output where that is all that reads it."""
        (name,) = node.output
        readers = self._readers.get(name, [])
        if len(readers) == 1 and readers[0].op_type in ACTIVATIONS and name not in self._outputs:
            return str(readers[0].output[0])
        return str(name)

    def _feeds_a_layer(self, node: NodeProto) -> bool:
        """Also by way of joining or pooling, but not by way of arithmetic, which is the map's."""
        readers = self._readers.get(node.output[0], [])
        passing = (reader for reader in readers if reader.op_type == "Concat" or _repeats_values(reader))
        return any(map(self.has_weights, readers)) or any(map(self._feeds_a_layer, passing))


def _repeats_values(node: NodeProto) -> bool:
    """Whether an operator only picks or repeats values of its input, so that the output has the input's range."""
    if node.op_type == "Resize":
        return any(a.name == "mode" and a.s == b"nearest" for a in node.attribute)
    return bool(node.op_type == "MaxPool")


def networks(model: ModelProto) -> tuple[str, ...]:
    """The prefixes of the parameter names of a graph's networks, as the export recorded them.

    Raises:
        EdgeLeatherError: the graph does not say.
    """
    for entry in model.metadata_props:
        if entry.key == NETWORKS_KEY and entry.value:
            return tuple(f"{name}." for name in entry.value.split())
    raise EdgeLeatherError(
        "this graph does not say which of its parts are networks. Make the bundle anew with: edgeleather export"
    )
