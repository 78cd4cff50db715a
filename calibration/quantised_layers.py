"""Which layers of an fp32 graph become INT8, and which tensors between them are quantised for that."""

from __future__ import annotations

from collections import Counter
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
    prefixes = networks(model)
    weights = {tensor.name for tensor in model.graph.initializer if tensor.name.startswith(prefixes)}
    consumers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    outputs = {value.name for value in model.graph.output}
    layers: list[str] = []
    tensors: dict[str, None] = {}
    same_range: dict[str, str] = {}

    def end_of(node: NodeProto) -> str:
        """The tensor to quantise behind a layer: its activation's output where that is all that reads it."""
        (name,) = node.output
        readers = consumers.get(name, [])
        if len(readers) == 1 and readers[0].op_type in ACTIVATIONS and name not in outputs:
            return str(readers[0].output[0])
        return str(name)

    def feeds_a_layer(node: NodeProto) -> bool:
        readers = consumers.get(node.output[0], [])
        return any(r.op_type in _WEIGHTED and r.input[1] in weights for r in readers)

    for node in model.graph.node:
        if node.op_type in _WEIGHTED and node.input[1] in weights:
            tensors[node.input[0]] = None
        elif node.op_type in ("MaxPool", "Resize"):
            if not (_repeats_values(node) and node.input[0] in tensors and feeds_a_layer(node)):
                continue
            same_range[node.output[0]] = same_range.get(node.input[0], node.input[0])
        elif node.op_type in ("Add", "Concat"):
            # Sums in the map's own arithmetic read tensors that are not quantised; joined features only pay before a layer.
            if not all(name in tensors for name in node.input) or (
                node.op_type == "Concat" and not feeds_a_layer(node)
            ):
                continue
        else:
            continue
        layers.append(node.output[0])
        tensors[end_of(node)] = None
    if not layers:
        raise EdgeLeatherError("this graph has no convolution that could be quantised.")
    doubled = [name for name, count in Counter(layers).items() if count > 1]
    assert not doubled, doubled
    return QuantisedLayers(tuple(layers), tuple(name for name in tensors if name not in outputs), same_range)


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
