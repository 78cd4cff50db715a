"""ONNX Runtime on the CPU, the embedded default: what `engine.Backend` asks of its module."""

from __future__ import annotations

from pathlib import Path

from edgeleather.engines.onnxruntime.building import build
from edgeleather.engines.onnxruntime.running import OnnxRuntimeEngine
from edgeleather.engines.onnxruntime.session import version
from edgeleather.errors import EdgeLeatherError
from edgeleather.machine import cpu_name

__all__ = ["build", "can_run", "fits", "load", "version"]


def load(graph: Path, precision: str, threads: int | None, built_from: str | None = None) -> OnnxRuntimeEngine:
    """See `engine.load_engine`."""
    try:
        content = graph.read_bytes()
    except OSError as error:
        raise EdgeLeatherError(f"expected a graph at {graph}, got: {error.strerror}.") from error
    return OnnxRuntimeEngine(content, graph.name, precision, threads, built_from)


def can_run() -> str:
    """Why it cannot run here: never, since it is installed with EdgeLeather."""
    return ""


def fits(built_for: str) -> str:
    """Why an engine for this processor does not run here: it holds the layouts of one processor's kernels."""
    return "" if built_for == cpu_name() else f"this processor is {cpu_name()}"
