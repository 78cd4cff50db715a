"""A backend as somebody may add it: ONNX Runtime under another name. `test_seam.py` copies this file into `engines/`."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from edgeleather.engines.engine import BuildReport, BuildSettings, Signature
from edgeleather.engines.onnxruntime.running import OnnxRuntimeEngine

_MARK = b"toy engine of graph "


class ToyEngine(OnnxRuntimeEngine):
    """A graph, or an engine file: a line that says so, and the graph behind it."""

    @property
    def signature(self) -> Signature:
        return replace(super().signature, backend="toy", versions={"toy": version()})


def version() -> str:
    return "0.1"


def can_run() -> str:
    return ""


def fits(built_for: str) -> str:
    return "" if built_for == "any machine" else "toys run on any machine"


def build(graph: Path, engine: Path, settings: BuildSettings) -> BuildReport:
    content = graph.read_bytes()
    engine.write_bytes(_MARK + hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
    return BuildReport("any machine", threads=settings.threads)


def load(file: Path, precision: str, threads: int | None, built_from: str | None) -> ToyEngine:
    content = file.read_bytes()
    if built_from is not None:
        mark, _, content = content.partition(b"\n")
        assert mark == _MARK + built_from.encode()
    return ToyEngine(content, file.name, precision, threads)
