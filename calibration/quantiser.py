"""From an fp32 graph to candidates of another precision."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import onnx
from onnx import ModelProto

from edgeleather.calibration.comparison import CandidateGraph
from edgeleather.calibration.fp16 import to_fp16
from edgeleather.calibration.qdq import Dialect, to_int8
from edgeleather.calibration.quantised_layers import pixel_layers
from edgeleather.calibration.ranges import TensorRange


@dataclass(frozen=True)
class Quantiser:
    """Makes INT8 graphs of an fp32 model in one dialect, with one range for each quantised tensor.

    `float32_nodes` are those that FP16 must leave alone, for a dialect that has FP16 around its INT8 layers.
    """

    model: ModelProto
    dialect: Dialect
    ranges: Mapping[str, TensorRange]
    float32_nodes: tuple[str, ...] = ()

    @property
    def always_float(self) -> tuple[str, ...]:
        """The layers that this dialect never quantises."""
        return pixel_layers(self.model) if self.dialect.in_half else ()

    def graph(self, float_layers: Collection[str] = ()) -> CandidateGraph:
        """The INT8 graph in which these layers stay in higher precision."""
        int8 = to_int8(self.model, self.ranges, self.dialect, {*float_layers, *self.always_float})
        if not self.dialect.in_half:
            return CandidateGraph(checked_bytes(int8))
        return CandidateGraph(checked_bytes(to_fp16(int8, self.float32_nodes)), is_run_as_written=True)


def half_graph(model: ModelProto, float32_nodes: Collection[str]) -> CandidateGraph:
    """The FP16 graph of an fp32 model, in which these nodes stay float32."""
    return CandidateGraph(checked_bytes(to_fp16(model, float32_nodes)))


def checked_bytes(model: ModelProto) -> bytes:
    """A model as a file's bytes, after ONNX's own checks of it."""
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())
