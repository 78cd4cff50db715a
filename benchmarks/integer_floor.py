"""The integer floor: how fast a graph could be if nothing but its multiply-accumulates took time, at this machine's peak."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, shape_inference

from edgeleather.arrays import UInt8Array
from edgeleather.calibration.qdq import quantised_convolution
from edgeleather.engines.onnxruntime.session import open_session
from edgeleather.engines.timing import sample_ns
from edgeleather.machine import usable_cores

# (channels, height and width) of 3 x 3 convolutions: as large as they come in the methods' networks.
_SHAPES = ((64, 64), (128, 32), (256, 32))
_WARM_UP = 10


class PeakWorker:
    """Integer convolutions of several shapes, timed in the same alternating rounds as the engines."""

    def __init__(self, threads: int | None) -> None:
        self._runs = []
        for channels, side in _SHAPES:
            model = quantised_convolution(channels, side)
            session = open_session(model.SerializeToString(), "integer peak", threads or usable_cores())
            features: UInt8Array = np.random.default_rng(0).integers(0, 256, (1, channels, side, side), dtype=np.uint8)
            self._runs.append((session, features, multiply_accumulates(model)))

    def load(self) -> dict[str, Any]:
        return {}

    def time(self, repeats: int) -> dict[str, Any]:
        """The best multiply-accumulates a second of any shape in any run of this round."""
        return {"macs_per_second": max(self._rate(*one, repeats) for one in self._runs)}

    def _rate(self, session: Any, features: UInt8Array, macs: int, repeats: int) -> float:
        samples_ns = sample_ns(lambda _: session.run(None, {"features": features}), repeats, warm_up_runs=_WARM_UP)
        return 1e9 * macs / min(samples_ns)


def graph_multiply_accumulates(graph: Path) -> int:
    """The multiply-accumulates of one image through a graph file; see `multiply_accumulates`."""
    return multiply_accumulates(onnx.load(graph))


def multiply_accumulates(model: ModelProto) -> int:
    """The multiply-accumulates of a model's convolutions and matrix products, with a dynamic batch taken as 1."""
    fixed = ModelProto()
    fixed.CopyFrom(model)
    for value in (*fixed.graph.input, *fixed.graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_value = 1
    del fixed.graph.value_info[:]
    inferred = shape_inference.infer_shapes(fixed, data_prop=True).graph
    shapes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*inferred.value_info, *inferred.output)
    }
    shapes |= {tensor.name: list(tensor.dims) for tensor in inferred.initializer}
    total = 0
    for node in inferred.node:
        if node.op_type == "Conv":
            total += int(np.prod(shapes[node.output[0]]) * np.prod(shapes[node.input[1]][1:]))
        elif node.op_type == "ConvTranspose":
            total += int(np.prod(shapes[node.input[0]]) * np.prod(shapes[node.input[1]][1:]))
        elif node.op_type in ("MatMul", "Gemm"):
            inner = shapes[node.input[0]][-1]
            total += int(np.prod(shapes[node.output[0]]) * inner)
    return total
