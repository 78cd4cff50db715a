"""Which layers of an fp32 graph become INT8, and which tensors between them are quantised for that."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from onnx import ModelProto, NodeProto

from edgeleather.errors import EdgeLeatherError

NETWORKS_KEY = "edgeleather.networks"  # in the model's metadata: prefixes of the networks' parameter names
_WEIGHTED = ("Conv",)
ACTIVATIONS = ("Relu", "Clip")


@dataclass(frozen=True)
class QuantisedLayers:
    """The layers to quantise, by the name of their output, and the activation tensors that need a calibration range.

    `same_range` maps a tensor to the one whose range it takes over: pooling must not requantise.
    """

    layers: tuple[str, ...]
    tensors: tuple[str, ...]
    same_range: dict[str, str]


def quantised_layers(model: ModelProto) -> QuantisedLayers:
    """Choose the convolutions of the method's networks and what lies between them: ReLU, sums, pooling, joining, enlarging.

    Everything else, above all distances and the map's own arithmetic, stays float (DESIGN 5).

    Raises:
        EdgeLeatherError: the graph does not say what its networks are, or they hold no convolution.
    """
    graph = _Graph(model)
    from_image = {value.name for value in model.graph.input}
    layers: list[str] = []
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
        layers.append(node.output[0])
        tensors[graph.end_of(node)] = None
    if not layers:
        raise EdgeLeatherError("this graph has no convolution that could be quantised.")
    outputs = {value.name for value in model.graph.output}
    return QuantisedLayers(tuple(layers), tuple(name for name in tensors if name not in outputs), same_range)


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
        return any(self.has_weights(reader) for reader in self._readers.get(node.output[0], []))


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
