"""ONNX Runtime on the CPU: the embedded default."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from edgeleather.arrays import UInt8Array
from edgeleather.engines.engine import Maps, Signature, check_images
from edgeleather.errors import EdgeLeatherError
from edgeleather.files import sha256_of_file

# Since 1.29 ONNX Runtime reports every session to its maker unless this is set before it is loaded, and keeps a database of
# reports in the home folder: no business of an inspection station.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

_CONTRACT = (("image",), ("anomaly_map", "anomaly_score"))


class OnnxRuntimeEngine:
    """A graph in an ONNX Runtime session."""

    def __init__(self, graph: Path, precision: str, threads: int | None) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or usable_cores()
        options.log_severity_level = 4  # its failures come as exceptions, which are reported once
        try:
            content = graph.read_bytes()
            self._session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except OSError as error:
            raise EdgeLeatherError(f"expected a graph at {graph}, got: {error.strerror}.") from error
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise EdgeLeatherError(f"{graph.name}: expected an ONNX graph, but ONNX Runtime says: {reason}") from error
        self._signature = Signature(
            backend="onnxruntime",
            precision=precision,
            device=f"cpu, {options.intra_op_num_threads} threads",
            versions={"onnxruntime": ort.__version__},
            graph_sha256=sha256_of_file(graph),
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
        except Exception as error:  # as above; one frame that runs out of memory must not end the loop
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


def load(graph: Path, precision: str, threads: int | None) -> OnnxRuntimeEngine:
    """See `engine.load_engine`."""
    return OnnxRuntimeEngine(graph, precision, threads)


def usable_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
