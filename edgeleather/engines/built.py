"""Engines that were built on this machine: files below the bundle's `engines/`, each with its signature beside it."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeleather.bundle import Bundle
from edgeleather.engines.engine import Engine, Signature, backend_module, load_engine
from edgeleather.errors import EdgeLeatherError
from edgeleather.files import sha256_of_file
from edgeleather.machine import cpu_name
from edgeleather.records import read_record

ENGINES_FOLDER = "engines"


@dataclass(frozen=True)
class BuiltEngine:
    """What stands beside an engine file: what it is, what it was built from and on, and its own SHA-256."""

    schema: Literal[1]
    signature: Signature
    threads: int
    processor: str
    file_sha256: str


def signature_file(bundle_folder: Path, backend: str, precision: str) -> Path:
    """Where the signature of this machine's engine of a backend and precision lies, built or not."""
    machine = re.sub(r"[^A-Za-z0-9_.-]", "-", platform.node()) or "machine"
    return bundle_folder / ENGINES_FOLDER / machine / f"{backend}-{precision}.json"


def engine_file(signature: Path, file_sha256: str) -> Path:
    """The engine that a signature is of, beside it; part of its digest is in its name."""
    return signature.with_name(f"{signature.stem}-{file_sha256[:16]}.engine")


def open_engine(bundle: Bundle, precision: str, threads: int | None = None, backend: str = "onnxruntime") -> Engine:
    """The engine that was built here of a bundle's graph, or the graph itself where none was.

    Raises:
        EdgeLeatherError: the bundle has no such graph, or the engine built here is damaged or stale.
    """
    graph = bundle.graph(precision, backend)
    built = read_built(bundle, backend, precision)
    if built is None:
        return load_engine(backend, bundle.folder / graph, precision, threads)
    file = engine_file(signature_file(bundle.folder, backend, precision), built.file_sha256)
    return load_engine(backend, file, precision, threads or built.threads, built.signature.graph_sha256)


def read_built(bundle: Bundle, backend: str, precision: str) -> BuiltEngine | None:
    """The signature of the engine that was built here, or None where none was.

    Raises:
        EdgeLeatherError: an engine is there that is damaged, or was built from another graph, version or processor.
    """
    path = signature_file(bundle.folder, backend, precision)
    if not path.exists():
        return None
    rebuild = (
        f"Build it again with: edgeleather build {bundle.folder} --backend {backend} --precision {precision}"
        f" (or delete {path.parent})"
    )
    built = read_record(BuiltEngine, path, rebuild)
    file = engine_file(path, built.file_sha256)
    signature = built.signature
    expected = {
        "graph": bundle.manifest.files[bundle.graph(precision, backend)].sha256,
        "version": backend_module(backend).VERSION,
        "processor": cpu_name(),
        "file": built.file_sha256,
    }
    got = {
        "graph": signature.graph_sha256,
        "version": signature.versions.get(backend, "none"),
        "processor": built.processor,
        "file": sha256_of_file(file) if file.is_file() else "no such file",
    }
    for what, value in expected.items():
        if got[what] != value:
            raise EdgeLeatherError(
                f"{file}: expected an engine of {what} {_short(value)}, got {what} {_short(got[what])}. {rebuild}"
            )
    return built


def _short(value: str) -> str:
    return f"{value[:12]}..." if re.fullmatch(r"[0-9a-f]{64}", value) else value
