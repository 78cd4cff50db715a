"""ONNX Runtime on the CPU: the embedded default."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import numpy as np

from edgeleather.arrays import UInt8Array
from edgeleather.engines.engine import BuildSettings, Built, Maps, Signature, check_images
from edgeleather.errors import EdgeLeatherError
from edgeleather.machine import cpu_name, integer_dot_instructions, usable_cores

# Since 1.29 ONNX Runtime reports every session to its maker unless this is set before it is loaded, and keeps a database of
# reports in the home folder: no business of an inspection station.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

_SEARCH_ROUNDS, _SEARCH_RUNS = 3, 8
_CONTRACT = (("image",), ("anomaly_map", "anomaly_score"))


class OnnxRuntimeEngine:
    """A graph's bytes, or those of an engine built from the graph of SHA-256 `built_from`, in an ONNX Runtime session."""

    def __init__(
        self,
        content: bytes,
        name: str,
        precision: str,
        threads: int | None,
        built_from: str | None = None,
        optimise: bool = True,
    ) -> None:
        """`name` is for messages; a built engine is optimised already.

        Raises:
            EdgeLeatherError: ONNX Runtime refuses the graph, or it is none of ours.
        """
        threads = threads or usable_cores()
        self._session = open_session(content, name, threads, is_optimised=built_from is not None or not optimise)
        dots = " ".join(integer_dot_instructions()) or "none"
        self._signature = Signature(
            backend="onnxruntime",
            precision=precision,
            device=f"cpu, {threads} threads, integer dot products: {dots}",
            versions={"onnxruntime": version()},
            graph_sha256=built_from or hashlib.sha256(content).hexdigest(),
            image_size_hw=self._image_size_hw(name),
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
    try:
        content = graph.read_bytes()
    except OSError as error:
        raise EdgeLeatherError(f"expected a graph at {graph}, got: {error.strerror}.") from error
    return OnnxRuntimeEngine(content, graph.name, precision, threads, built_from)


def version() -> str:
    """Of ONNX Runtime."""
    return str(ort.__version__)


def can_run() -> str:
    """It runs wherever it is installed."""
    return ""


def fits(built_for: str) -> str:
    """An engine holds kernels' layouts of one processor."""
    return "" if built_for == cpu_name() else f"this processor is {cpu_name()}"


def build(graph: Path, engine: Path, settings: BuildSettings) -> Built:
    """Write the graph as ONNX Runtime optimised it for this processor; its threads are found by measuring, unless given.

    Raises:
        EdgeLeatherError: ONNX Runtime refuses the graph, or a setting is not for it.
    """
    if settings.targets or settings.workspace_mib or settings.batch != BuildSettings().batch:
        raise EdgeLeatherError("--target, --workspace-mib and --batch are for TensorRT; ONNX Runtime takes any batch.")
    content = graph.read_bytes()
    open_session(content, graph.name, settings.threads or usable_cores(), saved_as=engine)
    if settings.threads:
        return Built(cpu_name(), threads=settings.threads)
    threads, times = _fastest_threads(engine.read_bytes(), graph.name)
    measured = ", ".join(f"{count}: {ms:.2f} ms" for count, ms in times.items())
    return Built(cpu_name(), threads=threads, flags={"threads tried": measured})


def _fastest_threads(engine: bytes, name: str) -> tuple[int, dict[int, float]]:
    """The number of threads with the lowest median of alternating rounds, and what each took; within 3 % the fewer are taken."""
    cores = usable_cores()
    counts = sorted({1, 2, cores // 2, cores} - {0} - {n for n in (2,) if n > cores})
    times: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(_SEARCH_ROUNDS if len(counts) > 1 else 0):
        for count in counts:
            session = open_session(engine, name, count, is_optimised=True)
            shape = session.get_inputs()[0].shape
            image = np.random.default_rng(0).integers(0, 256, (1, *shape[1:]), dtype=np.uint8)
            for run in range(2 * _SEARCH_RUNS):
                started = time.perf_counter()
                session.run(None, {"image": image})
                if run >= _SEARCH_RUNS:
                    times[count].append(1e3 * (time.perf_counter() - started))
            del session
    medians = {count: float(np.median(taken)) for count, taken in times.items() if taken}
    best = min(medians.values(), default=0.0)
    return next((count for count, taken in medians.items() if taken <= 1.03 * best), cores), medians
