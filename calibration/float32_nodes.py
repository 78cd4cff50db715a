"""Which nodes must stay float32 in an FP16 graph: those that overflow there, and those whose rounding the map feels."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgeleather.calibration.comparison import CandidateGraph, Comparison
from edgeleather.calibration.fp16 import element_types, to_fp16
from edgeleather.calibration.guard import BudgetError
from edgeleather.calibration.quantised_layers import ACTIVATIONS, quantised_layers
from edgeleather.engines.onnxruntime.session import open_session
from edgeleather.machine import usable_cores
from edgeleather.progress import track

_ROOM = (
    8.0  # below FP16's largest value, that a tensor keeps: real leather may excite more than the frames measured here
)
_TOLERANCE = 1e-3  # of the map's range, that one node may add
_MOST_ERROR = 0.01
_LOST_SHARE = 1e-3  # of a constant, twice what FP16 rounds off a normal number
_FRAMES = 12


def find_float32_nodes(model: ModelProto, comparison: Comparison) -> tuple[str, ...]:
    """The nodes of the fp32 graph, by their first output, that FP16 must leave alone; found by measuring each.

    Raises:
        BudgetError: with all of the map's arithmetic in float32 the map is still more than 1 % off.
    """
    inside = _networks_nodes(model)
    types = element_types(model)
    floating = [node for node in model.graph.node if any(types.get(name) == TensorProto.FLOAT for name in node.output)]
    outside = [node.output[0] for node in floating if node.output[0] not in inside]
    certain = _overflowing(model, comparison) | _with_lost_constants(model)

    def error(kept: Collection[str]) -> float:
        return comparison.map_error(_in_fp16(model, kept), _FRAMES)

    floor = error({*certain, *outside})
    if not floor <= _MOST_ERROR:
        raise BudgetError(
            f"FP16 refused: with all but the networks in float32, the map is off by {100 * floor:.2g} % of its range "
            f"({100 * _MOST_ERROR:g} % allowed). Use fp32 or int8."
        )
    if error(certain) <= floor + _TOLERANCE:
        return tuple(sorted(certain))
    alone = {
        name: error({*certain, *(other for other in outside if other != name)})
        for name in track([name for name in outside if name not in certain], "node by node")
    }
    felt = {name for name, found in alone.items() if not found <= floor + _TOLERANCE / 2}
    # What is harmless alone need not be together.
    return tuple(sorted(certain | felt if error(certain | felt) <= floor + 2 * _TOLERANCE else {*certain, *outside}))


def _in_fp16(model: ModelProto, kept: Collection[str]) -> CandidateGraph:
    return CandidateGraph(bytes(to_fp16(model, kept).SerializeToString()))


def _networks_nodes(model: ModelProto) -> set[str]:
    """The layers of the networks and their activations."""
    layers = set(quantised_layers(model).layers)
    activations = {n.output[0] for n in model.graph.node if n.op_type in ACTIVATIONS and n.input[0] in layers}
    return layers | activations


def _overflowing(model: ModelProto, comparison: Comparison) -> set[str]:
    """The nodes that come near FP16's largest value in the fp32 graph."""
    types = element_types(model)
    names = [node.output[0] for node in model.graph.node if types.get(node.output[0]) == TensorProto.FLOAT]
    watched = ModelProto()
    watched.CopyFrom(model)
    outputs = {value.name for value in model.graph.output}
    watched.graph.output.extend(helper.make_tensor_value_info(n, 1, None) for n in names if n not in outputs)
    session = open_session(watched.SerializeToString(), "fp32.onnx", usable_cores())
    limit = float(np.finfo(np.float16).max) / _ROOM
    found: set[str] = set()
    for frame in comparison.compared.frames[:_FRAMES]:
        values = session.run(names, {"image": frame.images[:1]})
        found |= {name for name, value in zip(names, values, strict=True) if value.size and np.abs(value).max() > limit}
    return found


def _with_lost_constants(model: ModelProto) -> set[str]:
    """The nodes with a constant that FP16 has no number near to, a guard against division by zero say."""
    lost = {tensor.name for tensor in model.graph.initializer if _is_lost(numpy_helper.to_array(tensor))}
    return {node.output[0] for node in model.graph.node if lost.intersection(node.input)}


def _is_lost(values: np.ndarray) -> bool:
    if values.dtype != np.float32 or values.size > 1:
        return False
    with np.errstate(over="ignore"):  # to infinity, which is far off too
        error = np.abs(values.astype(np.float16).astype(np.float64) - values)
    return bool(np.isfinite(values).all() and (error > _LOST_SHARE * np.abs(values)).any())
