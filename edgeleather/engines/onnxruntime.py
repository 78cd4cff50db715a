"""ONNX Runtime on the CPU: the embedded default."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from edgeleather.arrays import UInt8Array
from edgeleather.engines.engine import Maps, Signature, check_images
from edgeleather.errors import EdgeLeatherError
from edgeleather.files import sha256_of_file
from edgeleather.machine import usable_cores

# Since 1.29 ONNX Runtime reports every session to its maker unless this is set before it is loaded, and keeps a database of
# reports in the home folder: no business of an inspection station.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

VERSION = str(ort.__version__)
_CONTRACT = (("image",), ("anomaly_map", "anomaly_score"))


class OnnxRuntimeEngine:
    """A graph, or an engine built from one, in an ONNX Runtime session."""

    def __init__(self, graph: Path, precision: str, threads: int | None, built_from: str | None = None) -> None:
        try:
            content = graph.read_bytes()
        except OSError as error:
            raise EdgeLeatherError(f"expected a graph at {graph}, got: {error.strerror}.") from error
        threads = threads or usable_cores()
        self._session = open_session(content, graph.name, threads, is_optimised=built_from is not None)
        self._signature = Signature(
            backend="onnxruntime",
            precision=precision,
            device=f"cpu, {threads} threads",
            versions={"onnxruntime": VERSION},
            graph_sha256=built_from or sha256_of_file(graph),
            image_size_hw=self._image_size_hw(graph.name),
            batch_range=(1, None),
        )

    @property
    def signature(self) -> Signature:
        return self._signature

    def infer(self, images: UInt8Array) -> Maps:
        check_images(images, self._signature)
        try:
            maps, scores = self._session.run(list(_CONTRACT[1]), {"image": np.ascontiguousarray(images)})
        except Exception as error:  # it has no root class of its own; one frame without memory must not end the loop
            raise EdgeLeatherError(f"ONNX Runtime failed on these images: {str(error).splitlines()[0]}") from error
        return Maps(maps, scores)

    def close(self) -> None:
        del self._session

    def _image_size_hw(self, name: str) -> tuple[int, int]:
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        names = (tuple(i.name for i in inputs), tuple(o.name for o in outputs))
        shape = inputs[0].shape if inputs else []
        sized = len(shape) == 4 and all(isinstance(n, int) for n in shape[1:]) and shape[3] == 3
        if names != _CONTRACT or not sized or inputs[0].type != "tensor(uint8)":
            raise EdgeLeatherError(
                f"{name}: expected a graph of EdgeLeather (image uint8 [batch, h, w, 3] to anomaly_map and "
                f"anomaly_score), got inputs {names[0]} of shape {shape} and outputs {names[1]}."
            )
        return int(shape[1]), int(shape[2])


def open_session(
    content: bytes, name: str, threads: int, saved_as: Path | None = None, is_optimised: bool = False
) -> ort.InferenceSession:
    """A session on the CPU for a graph's bytes; `name` is for the message, `saved_as` keeps the optimised graph.

    Raises:
        EdgeLeatherError: ONNX Runtime refuses the graph.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # its failures come as exceptions, which are reported once
    if is_optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if saved_as is not None:
        options.optimized_model_filepath = str(saved_as)
    try:
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = str(error).splitlines()[0]
        if saved_as is not None and "erializ" in reason:
            raise EdgeLeatherError(f"cannot write the engine of {name} to {saved_as.parent}: {reason}") from error
        raise EdgeLeatherError(f"{name}: expected an ONNX graph, but ONNX Runtime says: {reason}") from error


def load(graph: Path, precision: str, threads: int | None, built_from: str | None = None) -> OnnxRuntimeEngine:
    """See `engine.load_engine`."""
    return OnnxRuntimeEngine(graph, precision, threads, built_from)


def build(graph: Path, engine: Path, threads: int) -> None:
    """Write the graph as ONNX Runtime optimised it for this processor.

    Raises:
        EdgeLeatherError: ONNX Runtime refuses the graph.
    """
    open_session(graph.read_bytes(), graph.name, threads, saved_as=engine)
