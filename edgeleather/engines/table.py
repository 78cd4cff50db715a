"""The visible table of backends: one line each, and beside it what that backend can do. No library is imported for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgeleather.bundle.manifest import FP16_GRAPH, FP32_GRAPH, INT8_7BIT_GRAPH, INT8_GRAPH, INT8_TENSORRT_GRAPH
from edgeleather.errors import EdgeLeatherError


@dataclass(frozen=True)
class Capabilities:
    """What a backend can do: all that the rest of EdgeLeather knows of it. `module` has what `engine.Backend` asks for.

    `graphs` names by precision the graph files that the backend takes; of several, the first that gives its recorded answers
    is used. Calibration makes the INT8 graphs named there, each in the dialect of its name. The `takes_` flags say which build
    settings are for it. A backend that `needs_build` runs nothing but engine files; others run a graph as it is, too.
    `timed_starts` is how many starts a build times, one after another: two where the first start leaves a cache for the next.
    The one backend that `is_reference` records the golden answers and measures what calibration costs.
    """

    module: str
    graphs: Mapping[str, tuple[str, ...]]
    device: Literal["cpu", "gpu"]
    takes_threads: bool = False
    takes_batch_profile: bool = False
    takes_workspace: bool = False
    takes_targets: bool = False
    needs_build: bool = False
    timed_starts: int = 1
    is_reference: bool = False


_INTEGER_KERNELS = {"fp32": (FP32_GRAPH,), "fp16": (FP16_GRAPH,), "int8": (INT8_GRAPH, INT8_7BIT_GRAPH)}
_STRONGLY_TYPED = {"fp32": (FP32_GRAPH,), "fp16": (FP16_GRAPH,), "int8": (INT8_TENSORRT_GRAPH,)}

BACKENDS = {
    "onnxruntime": Capabilities(
        module="edgeleather.engines.onnxruntime.backend",
        graphs=_INTEGER_KERNELS,
        device="cpu",
        takes_threads=True,
        is_reference=True,
    ),
    "tensorrt": Capabilities(
        module="edgeleather.engines.tensorrt.tensorrt",
        graphs=_STRONGLY_TYPED,
        device="gpu",
        takes_batch_profile=True,
        takes_workspace=True,
        needs_build=True,
    ),
    "tensorrt-rtx": Capabilities(
        module="edgeleather.engines.tensorrt.tensorrt_rtx",
        graphs=_STRONGLY_TYPED,
        device="gpu",
        takes_batch_profile=True,
        takes_workspace=True,
        takes_targets=True,
        needs_build=True,
        timed_starts=2,
    ),
}
REFERENCE_BACKEND = next(name for name, backend in BACKENDS.items() if backend.is_reference)


def capabilities(backend: str) -> Capabilities:
    """The record of a backend.

    Raises:
        EdgeLeatherError: no such backend.
    """
    if backend not in BACKENDS:
        raise EdgeLeatherError(f"expected a backend of {', '.join(BACKENDS)}, got {backend!r}.")
    return BACKENDS[backend]
