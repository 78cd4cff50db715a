"""A session of ONNX Runtime on the CPU."""

from __future__ import annotations

import os
from pathlib import Path

from edgeleather.errors import EdgeLeatherError

# Since 1.29 ONNX Runtime reports every session to its maker unless this is set before it is loaded, and keeps a database of
# reports in the home folder: no business of an inspection station.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

# For how long its threads wait awake for the next inference. By default they count turns, which are over in a fraction of a
# millisecond on some processors; a loop that decides and records in between then pays for waking them at every frame
# (with 20 us here the loop lost three percent of the engine's rate). Versions before there was this key ignore it.
_SPIN_US = "2000"


def version() -> str:
    """The version of ONNX Runtime."""
    return str(ort.__version__)


def open_session(
    content: bytes,
    name: str,
    threads: int,
    saved_as: Path | None = None,
    is_optimised: bool = False,
    exact_products: bool = False,
) -> ort.InferenceSession:
    """A session on the CPU for a graph's bytes; `name` is for the message, `saved_as` keeps the optimised graph.

    With `exact_products` integer products do not saturate on a processor without integer dot products; they are slower there.

    Raises:
        EdgeLeatherError: ONNX Runtime refuses the graph, or a folder on the way to `saved_as` has a name that is no UTF-8.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN_US)
    options.log_severity_level = 4  # its failures come as exceptions, which are reported once
    if exact_products:
        options.add_session_config_entry("session.x64quantprecision", "1")
    if is_optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if saved_as is not None:
        try:
            str(saved_as).encode()
        except UnicodeEncodeError as error:
            raise EdgeLeatherError(
                f"cannot write the engine of {name} to {saved_as.parent}: ONNX Runtime takes no folder whose name is no UTF-8. "
                "Rename it, then build again."
            ) from error
        options.optimized_model_filepath = str(saved_as)
    try:
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = str(error).splitlines()[0]
        if saved_as is not None and "erializ" in reason:
            raise EdgeLeatherError(f"cannot write the engine of {name} to {saved_as.parent}: {reason}") from error
        raise EdgeLeatherError(f"{name}: expected an ONNX graph, but ONNX Runtime says: {reason}") from error
